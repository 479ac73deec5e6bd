"""AdamW's step for float32 numbers that lie side by side."""

import numpy as np


def update_adamw(theta, g, m, v, num_elements, coefficients):
    """Apply the step to ``theta``, ``m`` and ``v`` in place.

    ``coefficients`` are those of ``lm_basics.optim.adamw_update.AdamWCoefficients``, in order.
    """
    keep, new_m, beta2, new_v, eps, step_size = (
        coefficients[0],
        coefficients[1],
        coefficients[2],
        coefficients[3],
        coefficients[4],
        coefficients[5],
    )
    for i in range(num_elements):
        m_i = m[i] + new_m * (g[i] - m[i])
        v_i = beta2 * v[i] + new_v * g[i] * g[i]
        theta[i] = keep * theta[i] - step_size * m_i / (np.sqrt(v_i) + eps)
        m[i], v[i] = m_i, v_i
    return num_elements
