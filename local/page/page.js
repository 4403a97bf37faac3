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
let original = ""; // the text of the sample as it was loaded
let sendersVersion = null; // of the list of senders that is shown

start();

async function start() {
  showTrace(null);
  const found = await ask("/senders");
  listSenders(found, found.find((each) => each.own)?.name ?? "typeform");
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

/** Fill the list of senders, the user's own first, and select one: the preferred one, if it is there. */
function listSenders(found, preferred) {
  senders = found;
  const groups = { "Your senders": (each) => each.own };
  for (const [trigger, label] of Object.entries(TRIGGERS)) groups[label] = (each) => !each.own && each.trigger === trigger;
  element("sender").replaceChildren();
  for (const [label, belongs] of Object.entries(groups)) {
    const group = document.createElement("optgroup");
    group.label = label;
    group.append(...senders.filter(belongs).map((sender) => new Option(sender.name)));
    if (group.children.length) element("sender").append(group);
  }
  if (senders.some((each) => each.name === preferred)) element("sender").value = preferred;
}

/** Show the senders that have been taken up. A text that the user has changed stays. */
async function listSendersAgain() {
  const found = await ask("/senders");
  const name = senderNow().name;
  const isEdited = element("text").value !== original;
  listSenders(found, name);
  if (isEdited && senderNow().name === name) describe();
  else await pick();
}

// --- actions of the user ------------------------------------------------------------------------------------------

async function pick() {
  const sender = senderNow();
  describe();
  await load(() => ask(`/sample?sender=${encodeURIComponent(sender.name)}`));
  original = element("text").value;
}

function describe() {
  const sender = senderNow();
  const where = sender.url ? `POST ${sender.url}` : sender.where;
  element("about").textContent = [`${where}; ${sender.authentication}.`, sender.note].filter(Boolean).join(" ");
  element("secrets").disabled = sender.trigger === "event" || sender.note !== "";
  checkText();
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
  if (sending) return;
  sending = true; // the button is not disabled, because it would lose the focus
  await loading;
  chosen = null;
  element("send").setAttribute("aria-disabled", "true");
  element("send").textContent = "Sending …";
  showSubmission({ sender: senderNow().name, trigger: senderNow().trigger, steps: [], lines: [], answer: null }, "moving");
  showInbox(null);
  reveal(element("trace"));
  try {
    const secret = radios("secret").find((radio) => radio.checked).value;
    chosen = (await ask("/send", { ...submission(), secret })).request_id;
  } finally {
    sending = false;
    element("send").removeAttribute("aria-disabled");
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
  const text = element("text").value;
  const type = senderNow().content_type || typeOf(text);
  const mistake = type.includes("json") ? mistakeIn(text) : "";
  element("text-hint").textContent = mistake ? `${type}, but this is not JSON: ${mistake}. You can send it anyway.` : `Sent as ${type.split(";")[0]}`;
}

/** The content type of a pasted body, as the server finds it too. */
function typeOf(text) {
  if (text.startsWith("--")) return "multipart/form-data";
  return /^\s*[[{]/.test(text) || !text.includes("=") ? "application/json" : "application/x-www-form-urlencoded";
}

/** Where a text stops being JSON; "" if it is JSON. Browsers write the place in different ways, or not at all. */
function mistakeIn(text) {
  try {
    JSON.parse(text);
    return "";
  } catch ({ message }) {
    const at = message.match(/position (\d+)/)?.[1] ?? (/end of|unterminated/i.test(message) ? text.length : null);
    if (at === null) return message;
    const before = text.slice(0, Number(at)).split("\n");
    return `line ${before.length}, column ${before.at(-1).length + 1}`;
  }
}

// --- what the page shows ----------------------------------------------------------------------------------------

async function look() {
  try {
    const response = await fetch(`/state?chosen=${encodeURIComponent(chosen ?? "")}`);
    if (!response.ok) throw new Error("refused");
    state = await response.json();
    show();
    if (state.senders.version !== (sendersVersion ??= state.senders.version)) {
      sendersVersion = state.senders.version;
      await attempt(listSendersAgain)();
    }
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
  element("senders-notice").hidden = !state.senders.text;
  element("senders-notice").classList.toggle("wrong", state.senders.wrong);
  set("senders-notice", state.senders.text);
  list("retry", state.retry, state.retry_count, "empty", (message) => [
    message.sender ?? "unreadable",
    `${message.attempts} ${message.attempts === 1 ? "retry" : "retries"} so far, ${due(message.visible_at)}`,
  ]);
  list("dead", state.dead, state.dead_count, "empty", (letter) => [
    `${letter.reason}${letter.title ? `: ${letter.title}` : ""}`,
    `${letter.sender ?? "unknown sender"}, id ${letter.id.slice(0, 8)}. ${letter.advice}`,
  ]);
  element("redrive").disabled = state.dead_count === 0;
  showRecent();
  if (sending) return;
  const found = state.submissions.find((each) => each.request_id === chosen) ?? (chosen ? null : state.submissions[0]);
  if (!found) return;
  showSubmission(found);
  if (state.chosen === found.request_id) showInbox(state.inbox);
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
    sign.setAttribute("role", "img");
    sign.setAttribute("aria-label", step.state);
    sign.textContent = SIGNS[step.state];
    sign.title = step.state;
    name.textContent = NAMES[step.name] ?? step.name;
    lines(text, step.text || (step.state === "unreached" ? "" : step.state), step.notes ?? []);
    light(`step=${step.name}`, moving ? "moving" : step.state);
  });
  for (const trigger of Object.keys(TRIGGERS)) light(`trigger=${trigger}`, each?.trigger === trigger ? (moving ? "moving" : "passed") : "unreached");
  mark("retry", each?.queue === "retry", "waiting", "this one waits", "transient failures");
  mark("dead", each?.queue === "dead", "failed", "this one is here", "an operator fixes, redrives");
}

/** Mark a queue in the diagram if this submission is in it; the lists below show all that it contains. */
function mark(queue, contains, how, text, otherwise) {
  light(`queue=${queue}`, contains ? how : "unreached");
  document.querySelector(`.architecture [data-count=${queue}]`).textContent = contains ? text : otherwise;
}

/** Show what the agency sees of this submission; what is new by it is marked. */
function showInbox(inbox) {
  const unread = element("unread");
  unread.hidden = !inbox?.unread;
  unread.textContent = inbox ? `${inbox.unread} unread` : "";
  const marked = inbox && inbox.unread > inbox.unread_before ? ` Unread before: ${inbox.unread_before}.` : "";
  const nothing = state?.highlevel.local === false ? "Not visible from here." : "Nothing of this submission to show.";
  set("inbox-state", inbox ? `Conversation with ${inbox.who}.${marked}` : nothing);
  const written = [["Internal comment", inbox?.comments], ["Contact note", inbox?.notes]];
  fillList("thread", written.flatMap(([kind, all]) => (all ?? []).map((each) => ({ kind, ...each }))), inbox ? "no message" : "", (each) => {
    const fragment = document.createDocumentFragment();
    const [small, text] = [document.createElement("small"), document.createElement("p")];
    small.textContent = `${each.kind}, ${new Date(each.at).toLocaleTimeString()}${each.is_new ? ", of this submission" : ""}`;
    text.textContent = each.text;
    fragment.append(small, text);
    return fragment;
  }, (each) => (each.is_new ? "fresh" : ""));
  showContact(inbox);
}

function showContact(inbox) {
  const rows = inbox?.contact ?? [];
  element("contact").hidden = !rows.length;
  const isChanged = rows.some((row) => row.before !== row.after);
  const how = inbox?.is_new ? "new" : isChanged ? "changed" : "unchanged";
  element("contact").caption.textContent = `Contact: ${how}`;
  const made = rows.map((row) => {
    const one = document.createElement("tr");
    if (row.before !== row.after) one.className = "changed";
    for (const [tag, text] of [["th", row.field], ["td", row.before || "–"], ["td", row.after || "–"]]) {
      const cell = document.createElement(tag);
      if (tag === "th") cell.scope = "row";
      cell.textContent = text;
      one.append(cell);
    }
    return one;
  });
  const body = element("contact").tBodies[0];
  if (made.map((row) => row.outerHTML).join("") !== body.innerHTML) body.replaceChildren(...made);
}

function light(which, how) {
  const box = document.querySelector(`.architecture [data-${which}]`);
  if (how === "unreached") delete box.dataset.state;
  else box.dataset.state = how;
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
function fillList(id, entries, none, make, classOf = () => "") {
  const items = entries.map((entry) => {
    const one = document.createElement("li");
    if (classOf(entry)) one.className = classOf(entry);
    one.append(make(entry));
    return one;
  });
  if (!items.length && none) {
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

/** Replace a step's text and its notes only if they have changed. */
function lines(parent, text, notes) {
  if (parent.dataset.shown === [text, ...notes].join("\n")) return;
  parent.dataset.shown = [text, ...notes].join("\n");
  parent.replaceChildren(text, ...notes.map((note) => {
    const small = document.createElement("small");
    small.textContent = note;
    return small;
  }));
}

/** Scroll to an element if it is not whole in the window. The focus stays, so that Enter sends again. */
function reveal(section) {
  const { top, bottom } = section.getBoundingClientRect();
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (top < 0 || bottom > innerHeight) section.scrollIntoView({ block: "start", behavior: isCalm ? "auto" : "smooth" });
}

function set(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}

function item(tags) {
  const one = document.createElement("li");
  one.append(...tags.map((tag) => document.createElement(tag)));
  return one;
}
