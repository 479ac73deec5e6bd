from hypothesis import given, strategies as st

from lm_data.deduplicate.union_find import UnionFind


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40))
def test_sets_are_the_connected_components(pairs):
    sets = UnionFind(20)
    label = list(range(20))
    for first, second in pairs:
        assert sets.union(first, second) == (label[first] != label[second])
        label = [label[first] if one == label[second] else one for one in label]
    expected = {}
    for item, name in enumerate(label):
        expected.setdefault(name, []).append(item)
    assert sorted(sets.groups()) == sorted(expected.values())


def test_groups_are_ordered_by_their_smallest_item():
    sets = UnionFind(5)
    sets.union(4, 1)
    sets.union(3, 0)
    assert sets.groups() == [[0, 3], [1, 4], [2]]
