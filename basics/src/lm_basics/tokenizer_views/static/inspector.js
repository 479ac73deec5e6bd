"use strict";

// Every text reaches the page through textContent, dataset or setAttribute: nothing is parsed.

const DEBOUNCE_MS = 120;
// A long text takes longer to encode and to draw than the pause between two keys.
const LONG_TEXT = 20_000;
const LONG_DEBOUNCE_MS = 600;
const NUM_COLORS = 6;

const EXAMPLES = {
  English: "Tokenization decides what a model sees: “unbelievable” may be one piece or five.",
  Code: "def mean(values):\n    # one pass\n\treturn sum(values) / len(values)\n",
  Numbers: "3.14159 + 2026 = 2029.14159; 1,234,567 and 0x1f600",
  Languages: "Zażółć gęślą jaźń. Съешь ещё этих булок. 你好，世界！ नमस्ते शुभ",
  Emoji: "👩‍🚀 lands on the 🌕, waves 🏳️‍🌈 and goes home 🙂",
  Special: "one document<|endoftext|>the next one",
};

const find = (id) => document.getElementById(id);
const [input, special, results, tip] = ["text", "special", "results", "tip"].map(find);

/** The columns on the page: the answer's tokens beside the elements that show them. */
let columns = [];
/** The element that the tip belongs to: a token or its id. */
let anchor = null;
let question = new AbortController();
let timer = 0;

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

const formatInteger = (number) => number.toLocaleString("en-US");
const formatRatio = (ratio) => (ratio === null ? "–" : ratio.toFixed(2));

// Questions and answers

function askSoon() {
  clearTimeout(timer);
  timer = setTimeout(ask, input.value.length < LONG_TEXT ? DEBOUNCE_MS : LONG_DEBOUNCE_MS);
}

async function ask() {
  // The answer to an aborted question never arrives, so it cannot overwrite a newer one.
  question.abort();
  question = new AbortController();
  const { signal } = question;
  results.setAttribute("aria-busy", "true");
  try {
    const answer = await fetchAnswer({ text: input.value, special: special.checked }, signal);
    showAnswer(answer);
    showError("");
  } catch (error) {
    if (signal.aborted) return;
    showError(error.message);
  }
  results.setAttribute("aria-busy", "false");
}

async function fetchAnswer(body, signal) {
  const headers = { "Content-Type": "application/json" };
  const options = { method: "POST", headers, body: JSON.stringify(body), signal };
  const response = await fetch("/tokenize", options).catch((error) => {
    throw signal.aborted ? error : new Error("The server does not answer. Is it still running?");
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function showError(message) {
  find("error").hidden = message === "";
  find("error").textContent = message;
  results.classList.toggle("outdated", message !== "");
}

// Drawing

function showAnswer({ num_characters, num_bytes, tokenizers }) {
  hideTip();
  const most = Math.max(1, ...tokenizers.map((one) => one.num_tokens));
  columns = tokenizers.map((one, index) => makeColumn(one, index, most));
  results.replaceChildren(...columns.map((column) => column.card));
  const sizes = [num_characters, num_bytes].map(formatInteger);
  find("size").textContent = `${sizes[0]} characters, ${sizes[1]} UTF-8 bytes`;
  const counts = tokenizers.map((one) => `${one.name} ${formatInteger(one.num_tokens)}`);
  find("status").textContent = `Tokens: ${counts.join(", ")}`;
}

function makeColumn(answer, index, most) {
  const card = find("card").content.firstElementChild.cloneNode(true);
  const part = (selector) => card.querySelector(selector);
  card.dataset.column = index;
  part("h2").textContent = answer.name;
  part(".num-tokens").textContent = formatInteger(answer.num_tokens);
  part(".bytes-per-token").textContent = formatRatio(answer.bytes_per_token);
  part(".vocab-size").textContent = formatInteger(answer.vocab_size);
  part(".bar > div").style.width = `${(100 * answer.num_tokens) / most}%`;
  part(".tokens").setAttribute("aria-label", `Tokens of ${answer.name}`);
  const elements = answer.tokens.map(makeToken);
  part(".tokens").append(...elements);
  if (elements.length) elements[0].tabIndex = 0;
  part(".ids").append(...answer.tokens.flatMap(makeId));
  const notes = makeNotes(answer);
  part(".note").textContent = notes;
  part(".note").hidden = notes === "";
  return { card, elements, tokens: answer.tokens, isLossless: answer.is_lossless };
}

function makeToken(token, index) {
  const made = element("span", `token color-${index % NUM_COLORS}`);
  made.append(...token.pieces.map(makePiece));
  made.classList.toggle("special", token.special);
  // A box of its own would put what follows a line break beside the box.
  made.classList.toggle("breaks", token.pieces.some(([kind]) => kind === "newline"));
  made.dataset.index = index;
  made.tabIndex = -1;
  made.setAttribute("role", "option");
  made.setAttribute("aria-selected", "false");
  made.setAttribute("aria-label", `${shownText(token)}, id ${token.id}`);
  return made;
}

/** The piece holds the characters, for copying; what stands for them is drawn by the style. */
function makePiece([kind, text, shown]) {
  const made = element("span", `piece-${kind}`, text);
  made.dataset.shown = shown;
  return made;
}

function makeId(token, index) {
  const made = element("span", `color-${index % NUM_COLORS}`, token.id);
  made.dataset.index = index;
  return [made, " "];
}

function makeNotes(answer) {
  const notes = [];
  if (answer.tokens.length < answer.num_tokens) {
    const [shown, all] = [answer.tokens.length, answer.num_tokens].map(formatInteger);
    notes.push(`The first ${shown} of ${all} tokens are shown.`);
  }
  if (!answer.is_lossless) notes.push("These tokens do not give the text back.");
  return notes.join(" ");
}

const shownText = (token) => token.pieces.map(([, , shown]) => shown).join("");

// The token under the pointer or the focus

function tokenAt(target) {
  const one = target.closest("[data-index]");
  if (!one) return null;
  const column = columns[one.closest("article").dataset.column];
  return { element: one, column, index: Number(one.dataset.index) };
}

function showTip({ element: pointed, column, index }) {
  hideTip();
  anchor = pointed;
  const token = column.tokens[index];
  tip.replaceChildren(...describe(token).map((line) => element("p", "", line)));
  tip.hidden = false;
  placeTip();
  highlight(column, token);
  column.elements[index].classList.add("same");
  column.elements[index].setAttribute("aria-describedby", "tip");
}

function describe(token) {
  const bytes = token.bytes.match(/../g) ?? [];
  const lines = [`id ${token.id}`];
  lines.push(`${bytes.length} ${bytes.length === 1 ? "byte" : "bytes"}: ${bytes.join(" ")}`);
  lines.push(`from byte ${formatInteger(token.start)}`);
  if (token.cut) lines.push(`holds a part of ${[...token.cut].join(" and ")}`);
  if (token.special) lines.push("special token");
  return lines;
}

function placeTip() {
  if (!anchor) return;
  const box = anchor.getClientRects()[0];
  const view = anchor.parentElement.getBoundingClientRect();
  tip.hidden = box.bottom < view.top || box.top > view.bottom;
  const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const isRoomBelow = box.bottom + tip.offsetHeight + 8 < window.innerHeight;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${isRoomBelow ? box.bottom + 6 : box.top - tip.offsetHeight - 6}px`;
}

/** Marks the tokens of the other columns that share bytes of the text with this one. */
function highlight(origin, { start, bytes }) {
  const end = start + bytes.length / 2;
  for (const column of columns) {
    if (column === origin || !column.isLossless || !origin.isLossless) continue;
    column.tokens.forEach((token, index) => {
      const isSame = token.start < end && start < token.start + token.bytes.length / 2;
      if (isSame) column.elements[index].classList.add("same");
    });
  }
}

function hideTip() {
  anchor = null;
  tip.hidden = true;
  for (const one of results.querySelectorAll(".same")) {
    one.classList.remove("same");
    one.removeAttribute("aria-describedby");
  }
}

const STEPS = {
  ArrowRight: 1,
  ArrowDown: 1,
  ArrowLeft: -1,
  ArrowUp: -1,
  Home: -Infinity,
  End: Infinity,
};

function moveFocus(event) {
  const step = STEPS[event.key];
  if (step === undefined || !event.target.matches(".token")) return;
  event.preventDefault();
  const { column, index } = tokenAt(event.target);
  const next = Math.min(Math.max(index + step, 0), column.elements.length - 1);
  column.elements[next].focus();
}

/** One token of a column is reached with Tab, the others from there with the arrow keys. */
function selectToken({ column, index }) {
  column.elements.forEach((one, place) => {
    one.tabIndex = place === index ? 0 : -1;
    one.setAttribute("aria-selected", String(place === index));
  });
}

// Start

for (const [name, text] of Object.entries(EXAMPLES)) {
  const button = element("button", "", name);
  button.type = "button";
  button.addEventListener("click", () => {
    input.value = text;
    ask();
  });
  find("examples").append(button);
}
input.addEventListener("input", askSoon);
special.addEventListener("change", ask);
// Not "pointerover", which a pointer at rest sends too when the keyboard's step scrolls below it.
results.addEventListener("pointermove", (event) => {
  const place = tokenAt(event.target);
  if (!place) hideTip();
  else if (place.element !== anchor) showTip(place);
});
results.addEventListener("pointerleave", hideTip);
results.addEventListener("focusin", (event) => {
  if (!event.target.matches(".token")) return;
  selectToken(tokenAt(event.target));
  showTip(tokenAt(event.target));
});
results.addEventListener("focusout", hideTip);
results.addEventListener("keydown", moveFocus);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTip();
});
document.addEventListener("scroll", placeTip, { capture: true, passive: true });
// A browser may have kept the text of an earlier visit.
input.value ||= EXAMPLES.English;
ask();
