// The page of `make serve`. Data from the server is always set as text, never as HTML.

const LOOK_MS = 500;
const SIGNS = { passed: "✓", failed: "✗", waiting: "…", skipped: "–", unreached: "·" };
const NAMES = { highlevel: "HighLevel", verified: "authenticated" }; // those that differ from the step's id
const TRIGGERS = { webhook: "POST /webhooks/{sender}", http: "POST /conversations", event: "EventBridge rule" };
const STEPS = ["verified", "mapped", "contact", "token", "highlevel", "outcome"];

const element = (id) => document.getElementById(id);
const radios = (name) => [...document.querySelectorAll(`input[name=${name}]`)];
let senders = [];
let delivery = "";
let loading = Promise.resolve(); // the latest request for a sample: later actions wait for it
let loads = 0;
let chosen = null; // the request id of the submission that is shown
let sending = false;
let state = null;

start();

async function start() {
  showTrace(null);
  senders = await ask("/senders");
  for (const trigger of ["webhook", "http", "event"]) {
    const group = document.createElement("optgroup");
    group.label = TRIGGERS[trigger];
    for (const sender of senders.filter((each) => each.trigger === trigger)) group.append(new Option(sender.name));
    if (group.children.length) element("sender").append(group);
  }
  if (senders.some((sender) => sender.name === "typeform")) element("sender").value = "typeform";
  element("sender").addEventListener("change", attempt(pick));
  element("text").addEventListener("input", checkText);
  element("original").addEventListener("click", attempt(pick));
  element("fresh").addEventListener("click", attempt(() => change("fresh")));
  element("without-contact").addEventListener("click", attempt(() => change("without_contact")));
  element("compose").addEventListener("submit", (event) => { event.preventDefault(); attempt(send)(); });
  for (const radio of radios("highlevel")) {
    radio.addEventListener("change", attempt(() => ask("/highlevel", { mode: radio.value })));
  }
  element("redrive").addEventListener("click", attempt(redrive));
  await attempt(pick)();
  look();
}

// --- actions of the user ------------------------------------------------------------------------------------------

async function pick() {
  const sender = senderNow();
  element("about").textContent = [`${sender.where}; ${sender.authentication}.`, sender.note].filter(Boolean).join(" ");
  element("secrets").disabled = sender.trigger === "event" || sender.note !== "";
  await load(() => ask(`/sample?sender=${encodeURIComponent(sender.name)}`));
}

async function change(how) {
  await load(() => ask("/sample", { ...submission(), change: how }));
}

function load(request) {
  const number = ++loads;
  delete element("text").dataset.sender; // until the latest sample has arrived
  const loaded = loading.then(async () => {
    fill(await request());
    if (number === loads) element("text").dataset.sender = senderNow().name;
  });
  loading = loaded.catch(() => {}); // the caller shows the error
  return loaded;
}

async function send() {
  await loading;
  sending = true;
  chosen = null;
  element("send").disabled = true;
  element("send").textContent = "Sending …";
  showSubmission({ sender: senderNow().name, trigger: senderNow().trigger, steps: [], lines: [], answer: null }, "moving");
  try {
    const secret = radios("secret").find((radio) => radio.checked).value;
    chosen = (await ask("/send", { ...submission(), secret })).request_id;
  } finally {
    sending = false;
    element("send").disabled = false;
    element("send").textContent = "Send again";
    if (!chosen) showTrace(null);
  }
}

async function redrive() {
  element("redrive").disabled = true;
  element("redrive-result").textContent = (await ask("/redrive", {})).output;
}

const senderNow = () => senders.find((sender) => sender.name === element("sender").value);
const submission = () => ({ sender: senderNow().name, text: element("text").value, delivery });

function fill(sample) {
  delivery = sample.delivery;
  element("text").value = sample.text;
  element("send").textContent = "Send";
  checkText();
}

function checkText() {
  const type = senderNow().content_type;
  let hint = type;
  if (type.includes("json")) {
    try {
      JSON.parse(element("text").value);
    } catch {
      hint = `${type}, but this text is not JSON. You can send it anyway.`;
    }
  }
  element("text-hint").textContent = hint;
}

// --- what the page shows ----------------------------------------------------------------------------------------

async function look() {
  try {
    const response = await fetch("/state");
    if (!response.ok) throw new Error("refused");
    state = await response.json();
    show();
    if (element("error").dataset.of === "look") showError("");
  } catch (error) {
    if (error instanceof TypeError) showError("make serve does not answer. Has it ended?", "look");
    else throw error;
  } finally {
    setTimeout(look, document.hidden ? 4 * LOOK_MS : LOOK_MS);
  }
}

function show() {
  showHighlevel(state.highlevel);
  list("retry", state.retry, state.retry_count, "empty", (message) => [
    message.sender ?? "unreadable",
    `${message.attempts} ${message.attempts === 1 ? "retry" : "retries"} so far, ${due(message.visible_at)}`,
  ]);
  list("dead", state.dead, state.dead_count, "empty", (letter) => [
    `${letter.reason}${letter.title ? `: ${letter.title}` : ""}`,
    `${letter.sender ?? "unknown sender"}, id ${letter.id.slice(0, 8)}`,
  ]);
  element("redrive").disabled = state.dead_count === 0;
  count("retry", state.retry_count, "transient failures");
  count("dead", state.dead_count, "an operator fixes, redrives");
  showRecent();
  if (sending) return;
  const found = state.submissions.find((each) => each.request_id === chosen) ?? (chosen ? null : state.submissions[0]);
  if (found) showSubmission(found);
}

function showHighlevel(highlevel) {
  element("modes").disabled = !highlevel.local;
  element("other-highlevel").hidden = highlevel.local;
  element("all-local").hidden = !highlevel.local;
  if (!highlevel.local) {
    element("other-highlevel").textContent =
      `Submissions go to ${highlevel.url}: use the ids of your location and contact. This page cannot list its ` +
      "conversations or simulate its failures.";
    element("conversations-count").textContent = "";
    fillList("conversations", [], "not visible from here", null);
    return;
  }
  if (!document.activeElement?.matches("input[name=highlevel]")) {
    for (const radio of radios("highlevel")) radio.checked = radio.value === highlevel.mode;
  }
  list("conversations", highlevel.conversations, highlevel.count, "none yet", (conversation) => [
    conversation.who || conversation.contact,
    `conversation ${conversation.id}`,
  ]);
}

function showRecent() {
  fillList("recent", state.submissions, "none yet", (each) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.key = each.request_id;
    const last = each.lines.at(-1);
    button.textContent = `${new Date(1000 * each.at).toLocaleTimeString()} ${each.sender ?? "unknown"}: ${last ? outcomes(each) : "…"}`;
    button.setAttribute("aria-current", String(each.request_id === chosen));
    button.addEventListener("click", () => { chosen = each.request_id; show(); });
    return button;
  });
}

const outcomes = (each) => each.lines.map((line) => line.outcome).filter((name, at, all) => name !== all[at - 1]).join(" → ");

function showSubmission(each, moving) {
  const last = each.steps.at(-1);
  const many = each.lines.filter((line) => line.trigger === each.trigger).length;
  const part = many > 1 ? ` The delivery contains ${many} submissions; the steps are those of the newest log line.` : "";
  element("summary").textContent = moving
    ? `${each.sender}: sending …`
    : `${each.sender ?? "unknown sender"}: ${last.text || "in progress …"}.${part}`;
  showTrace(each, moving);
  const { answer } = each;
  set("answer", answer ? `${answer.status} after ${answer.ms} ms\n${answer.text}` : each.trigger === "event" ? "An event has no response." : "");
  set("line", each.lines.map((line) => JSON.stringify(line, null, 1).replace(/\n\s*/g, " ")).join("\n\n"));
}

function showTrace(each, moving) {
  const steps = each?.steps?.length ? each.steps : STEPS.map((name) => ({ name, state: "unreached", text: "" }));
  const items = element("steps");
  if (!items.children.length) items.append(...STEPS.map(() => item(["span", "b", "span"])));
  steps.forEach((step, at) => {
    const [sign, name, text] = items.children[at].children;
    items.children[at].dataset.state = step.state;
    items.children[at].dataset.step = step.name;
    sign.className = "sign";
    sign.textContent = SIGNS[step.state];
    sign.title = step.state;
    name.textContent = NAMES[step.name] ?? step.name;
    text.textContent = step.text || (step.state === "unreached" ? "" : step.state);
    light(`step=${step.name}`, moving ? "moving" : step.state);
  });
  const outcome = each?.lines?.at(-1)?.outcome;
  for (const trigger of Object.keys(TRIGGERS)) light(`trigger=${trigger}`, each?.trigger === trigger ? (moving ? "moving" : "passed") : "unreached");
  light("queue=retry", outcome === "deferred" || state?.retry_count ? "waiting" : "unreached");
  light("queue=dead", state?.dead_count ? "failed" : "unreached");
}

function light(which, how) {
  const box = document.querySelector(`.architecture [data-${which}]`);
  if (how === "unreached") delete box.dataset.state;
  else box.dataset.state = how;
}

function count(queue, number, otherwise) {
  document.querySelector(`.architecture [data-count=${queue}]`).textContent = number ? `${number} ${queue === "retry" ? "waiting" : "to fix"}` : otherwise;
}

// --- helpers -----------------------------------------------------------------------------------------------------

/** Send a GET, or a POST if there is a body. Returns the JSON of the answer; throws an Error with its text. */
async function ask(path, body) {
  let response;
  try {
    response = await fetch(path, body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw new Error("make serve does not answer. Has it ended?");
  }
  const content = await response.json();
  if (!response.ok) throw new Error(content.error);
  return content;
}

/** Wrap an action: the page shows its error; a success removes the previous error. */
function attempt(action) {
  return async () => {
    try {
      await action();
      showError("");
    } catch (error) {
      showError(error.message, "action");
    }
  };
}

function showError(text, of = "") {
  element("error").textContent = text;
  element("error").dataset.of = of;
  element("error").hidden = !text;
}

function due(visibleAt) {
  const seconds = Math.ceil(visibleAt - Date.now() / 1000);
  return seconds > 0 ? `next within ${seconds} s` : "due now";
}

function list(id, entries, number, none, texts) {
  element(`${id}-count`).textContent = number;
  element(`${id}-count`).classList.toggle("some", number > 0);
  fillList(id, entries, none, (entry) => {
    const [first, second] = texts(entry);
    const small = document.createElement("small");
    small.textContent = second;
    const fragment = document.createDocumentFragment();
    fragment.append(first, small);
    return fragment;
  });
}

/** Replace the list only if it has changed, so that focus and scroll position stay. */
function fillList(id, entries, none, make) {
  const items = entries.map((entry) => {
    const one = document.createElement("li");
    one.append(make(entry));
    return one;
  });
  if (!items.length) {
    const empty = document.createElement("li");
    empty.className = "none";
    empty.textContent = none;
    items.push(empty);
  }
  const list = element(id);
  if (items.map((one) => one.outerHTML).join("") === list.innerHTML) return;
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  list.replaceChildren(...items);
  if (focused) list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function set(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}

function item(tags) {
  const one = document.createElement("li");
  one.append(...tags.map((tag) => document.createElement(tag)));
  return one;
}
