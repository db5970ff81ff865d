"use strict";
const POLL_MS = 2000;
const POLL_MS_MAX = 30000;
// Ten minutes of the graph.
const POINTS_MAX = 300;
// A rate is over this many polls: one alone jumps.
const RATE_POINTS = 15;
const OUTPUT_SHOWN_MAX = 262144;
const ROWS = 25;

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

// All text of processes gets into the page as text nodes only: it may hold anything.
function element(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name === "class") made.className = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.map((it) => (it === null || it === undefined ? "" : it)));
  return made;
}

function svgElement(tag, properties, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function setText(id, text) {
  const place = $(id);
  if (place.textContent !== text) place.textContent = text;
}

// A table's body is built anew only where something has changed: focus and selection stay.
function fill(body, items, key, cells) {
  const old = new Map();
  for (const row of body.rows) old.set(row.dataset.key, row);
  const wanted = items.map((item) => {
    const id = key(item);
    const made = cells(item);
    const print = made.map((cell) => (cell instanceof Node ? cell.textContent + "\u0001" + (cell.className || "") : String(cell))).join("\u0000");
    let row = old.get(id);
    if (row && row.dataset.print === print) return row;
    const had = row && row.contains(document.activeElement);
    const fresh = element("tr", {}, ...made.map((cell) => (cell instanceof HTMLTableCellElement ? cell : element("td", {}, cell))));
    fresh.dataset.key = id;
    fresh.dataset.print = print;
    if (row) row.replaceWith(fresh);
    if (had) { const focus = fresh.querySelector("a, button"); if (focus) focus.focus(); }
    return fresh;
  });
  const keep = new Set(wanted);
  for (const row of [...body.rows]) if (!keep.has(row)) row.remove();
  wanted.forEach((row, i) => { if (body.rows[i] !== row) body.insertBefore(row, body.rows[i] || null); });
  const none = $(body.id + "-none");
  if (none) none.hidden = items.length > 0;
}

function duration(seconds) {
  if (seconds === null || !isFinite(seconds)) return "";
  if (seconds < 1) return Math.max(0, Math.round(seconds * 1000)) + " ms";
  if (seconds < 60) return number.format(seconds) + " s";
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return minutes + " min " + Math.floor(seconds % 60) + " s";
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? hours + " h " + (minutes % 60) + " min" : Math.floor(hours / 24) + " d " + (hours % 24) + " h";
}

const wholeSeconds = (seconds) => (seconds === null ? "" : seconds < 60 ? Math.floor(seconds) + " s" : duration(seconds));

// The database's clock, by what it last said: this machine's own may be wrong.
let clockAhead = 0;
const now = () => Date.now() + clockAhead;
const since = (time) => (time ? Math.max(0, (now() - Date.parse(time)) / 1000) : null);
const between = (from, to) => (from ? ((to ? Date.parse(to) : now()) - Date.parse(from)) / 1000 : null);

function clock(time) {
  if (!time) return "";
  const date = new Date(time);
  const today = new Date().toDateString() === date.toDateString();
  const day = { year: "numeric", month: "2-digit", day: "2-digit" };
  return date.toLocaleString(undefined, { ...(today ? {} : day), hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
}

function bytes(count) {
  if (count === null || count === undefined) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return number.format(count) + " " + units[unit];
}

const status = (word) => element("span", { class: "status " + word }, word);
const link = (id) => element("a", { href: "#/p/" + encodeURIComponent(id) }, id);
const wide = (text, extra) => element("td", { class: "wide " + (extra || "") }, text);

// ---- asking

async function ask(path) {
  // "no-cache" asks whether what the browser has is still so: an answer that has not changed costs nothing.
  const answer = await fetch(path, { cache: "no-cache", headers: { Accept: "application/json" } });
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, body && body.error ? body.error.message : answer.statusText);
  return body;
}

class Refused extends Error {
  constructor(code, message) { super(message); this.code = code; }
}

async function order(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: "Bearer " + sessionStorage.getItem("token") },
    body: JSON.stringify(body),
  });
  const told = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, told && told.error ? told.error.message : answer.statusText);
  return told;
}

const path = (id, rest) => "/processes/" + encodeURIComponent(id) + (rest || "");

// ---- where we are: #/ with the list's filters, or #/p/ID

function place() {
  const hash = location.hash.replace(/^#\/?/, "");
  if (hash.startsWith("p/")) {
    try { return { process: decodeURIComponent(hash.slice(2)) }; } catch { return { process: hash.slice(2) }; }
  }
  return { list: new URLSearchParams(hash.replace(/^\?/, "")) };
}

// ---- overview

const points = [];

function notePoint(state) {
  const ended = state.processes.COMPLETED + state.processes.FAILED + state.processes.CANCELLED;
  const at = Date.parse(state.as_of);
  const last = points[points.length - 1];
  if (last && at <= last.at) return;
  // History was deleted: what was counted before says nothing now.
  if (last && ended < last.ended) points.length = 0;
  points.push({ at, ended });
  if (points.length > POINTS_MAX) points.shift();
}

function rateOver(from, to) {
  const time = (points[to].at - points[from].at) / 1000;
  return time > 0 ? (points[to].ended - points[from].ended) / time : 0;
}

function showGraph() {
  const rates = points.slice(1).map((point, i) => ({ at: point.at, rate: rateOver(Math.max(0, i - 2), i + 1) }));
  const most = Math.max(1, ...rates.map((it) => it.rate));
  const end = points.length ? points[points.length - 1].at : 0;
  const span = POINTS_MAX * POLL_MS;
  const x = (at) => number.format(600 - ((end - at) / span) * 600).replace(/,/g, "");
  const y = (rate) => number.format(88 - (rate / most) * 84);
  let line = "";
  if (rates.length) {
    line = "M" + x(rates[0].at) + ",88 " + rates.map((it) => "L" + x(it.at) + "," + y(it.rate)).join(" ") + " L600,88 Z";
  }
  document.querySelector("#graph path").setAttribute("d", line);
  setText("graph-span", "in the last 10 minutes");
  setText("graph-most", rates.length ? "most: " + number.format(Math.max(0, ...rates.map((it) => it.rate))) + " per second" : "");
}

function showHealth(state) {
  const alive = state.nodes.filter((it) => it.state === "RUNNING");
  let problem = null;
  if (state.node && state.node.problem) problem = state.node.problem;
  else if (!alive.length) problem = "no node is running";
  else if (state.oldest_due_age_seconds > 60 && state.picked === 0) problem = "due processes wait and nothing runs";
  setText("health", problem || "healthy");
  $("health").dataset.is = problem ? "bad" : "good";
  setText("place", state.node ? state.node.name + ", version " + state.version : "version " + state.version);
  document.title = (problem ? "⚠ " : "") + "Process Orchestrator";
}

function showStatus(state) {
  clockAhead = Date.parse(state.as_of) - Date.now();
  notePoint(state);
  showHealth(state);
  const counts = state.processes;
  setText("n-running", number.format(state.picked));
  setText("n-busy", state.node ? "here: " + state.node.busy + " of " + state.node.executors + " executors" : "");
  setText("n-due", number.format(state.due));
  setText("n-oldest", state.oldest_due_age_seconds === null ? "" : "oldest: " + duration(state.oldest_due_age_seconds));
  setText("n-later", number.format(Math.max(0, state.queue_depth - state.due)));
  setText("n-completed", number.format(counts.COMPLETED));
  setText("n-failed", number.format(counts.FAILED));
  setText("n-cancelled", counts.CANCELLED ? number.format(counts.CANCELLED) + " cancelled" : "");
  const rate = points.length > 1 ? rateOver(Math.max(0, points.length - 1 - RATE_POINTS), points.length - 1) : null;
  setText("n-rate", rate === null ? "–" : number.format(rate));
  const left = counts.NOT_STARTED + counts.IN_PROGRESS;
  setText("n-eta", !left ? "the queue is empty" : rate > 0 ? "empty in about " + duration(left / rate) : "");
  setText("as-of", "As of " + clock(state.as_of) + ".");
  showGraph();
  fill($("nodes"), state.nodes, (it) => it.node_id, (it) => [
    it.name + (it.host !== it.name ? " on " + it.host : ""),
    status(it.state),
    state.node && state.node.node_id === it.node_id ? state.node.busy + " of " + it.executors + " busy" : String(it.executors),
    element("td", { class: "nowrap" }, wholeSeconds(since(it.last_heartbeat)) + " ago"),
    clock(it.started_at),
    it.version,
  ]);
  return state;
}

// Node ids are long; people know nodes by their names.
let names = new Map();
const nodeName = (id) => names.get(id) || id || "";

async function showOverview(filters) {
  const query = new URLSearchParams({ limit: String(ROWS) });
  for (const name of ["status", "type", "after"]) if (filters.get(name)) query.set(name, filters.get(name));
  const [state, running, failed, list] = await Promise.all([
    ask("/status"),
    ask("/processes?status=IN_PROGRESS&limit=10"),
    ask("/processes?status=FAILED&limit=5"),
    ask("/processes?" + query),
  ]);
  names = new Map(state.nodes.map((it) => [it.node_id, it.name]));
  showStatus(state);
  fill($("running"), running.processes, (it) => it.process_id, (it) => [
    link(it.process_id),
    it.current_task_index + 1 + " of " + it.total_tasks,
    wholeSeconds(since(it.started_at)),
    it.picked_by ? nodeName(it.picked_by) : "waiting" + (it.execution_time && Date.parse(it.execution_time) > now() ? " until " + clock(it.execution_time) : ""),
  ]);
  fill($("failed"), failed.processes, (it) => it.process_id, (it) => [
    link(it.process_id),
    clock(it.completed_at),
    wide(it.error_message || "", "error"),
  ]);
  fill($("list"), list.processes, (it) => it.process_id, (it) => [
    link(it.process_id),
    status(it.status),
    done(it) + " of " + it.total_tasks,
    clock(it.created_at),
    element("td", { class: "nowrap" }, duration(between(it.started_at, it.completed_at))),
    wide(it.error_message || "", "error"),
  ]);
  $("older").disabled = !list.next;
  $("older").dataset.after = list.next || "";
  $("newest").disabled = !filters.get("after");
}

const done = (it) => (it.status === "COMPLETED" ? it.total_tasks : it.current_task_index);

async function showTypes() {
  const types = (await ask("/process-types")).process_types;
  const select = $("filters").elements.type;
  const chosen = select.value || (place().list ? place().list.get("type") : "") || "";
  const wanted = ["", ...types.map((it) => it.name)];
  if (chosen && !wanted.includes(chosen)) wanted.push(chosen);
  select.replaceChildren(...wanted.map((name) => element("option", { value: name }, name || "all")));
  select.value = chosen;
}

// ---- one process

let chosen = null; // {task, attempt}: whose output is shown; attempt null is the one that runs
let shownOutput = "";

async function showProcess(id) {
  const [process, tasks, executions, state] = await Promise.all([
    ask(path(id)),
    ask(path(id, "/tasks?output=false")),
    ask(path(id, "/executions?output=false")),
    ask("/status"),
  ]);
  names = new Map(state.nodes.map((it) => [it.node_id, it.name]));
  clockAhead = Date.parse(state.as_of) - Date.now();
  notePoint(state);
  showHealth(state);
  setText("as-of", "As of " + clock(state.as_of) + ".");
  const live = process.status === "IN_PROGRESS" ? await ask(path(id, "/live")).then((it) => it.live, absent) : null;
  if (place().process !== id) return;
  const runs = tasks.tasks.find((it) => it.status === "IN_PROGRESS" && process.picked_by);
  showFacts(process);
  showTimeline(process, tasks.tasks, executions.executions, runs, live);
  showExecutions(process, tasks.tasks, executions.executions, runs, live);
  if (!chosen) chosen = firstChoice(runs, executions.executions);
  await showOutput(id, tasks.tasks, executions.executions, live);
  setText("p-context", JSON.stringify(process.process_context, null, 2));
  setText("p-input", JSON.stringify(process.input_data, null, 2));
}

// An older node has no such answer.
function absent(error) {
  if (error instanceof Refused && error.code === 404) return null;
  throw error;
}

function firstChoice(runs, executions) {
  if (runs) return { task: runs.task_index, attempt: null };
  const last = executions[executions.length - 1];
  return last ? { task: last.task_index, attempt: last.attempt } : null;
}

function showFacts(process) {
  setText("p-id", process.process_id);
  const facts = [
    ["Status", status(process.status)],
    ["Process type", process.process_type],
    ["Tasks", done(process) + " of " + process.total_tasks + " done"],
    ["Priority", String(process.priority)],
    ["Created", clock(process.created_at)],
    ["Started", clock(process.started_at)],
    ["Ended", clock(process.completed_at)],
    ["Took", duration(between(process.started_at, process.completed_at))],
    ["Node", process.picked_by ? nodeName(process.picked_by) : ""],
    ["Due", process.execution_time ? clock(process.execution_time) : ""],
  ].filter(([, value]) => value !== "");
  $("p-facts").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  $("p-error").hidden = !process.error_message;
  setText("p-error", process.error_message || "");
  const ended = ["COMPLETED", "FAILED", "CANCELLED"].includes(process.status);
  $("p-actions").hidden = !sessionStorage.getItem("token");
  $("p-cancel").disabled = ended;
  $("p-retry").disabled = !["FAILED", "CANCELLED"].includes(process.status);
}

function runningSince(runs, live, executions) {
  if (live) return live.started_at;
  const own = executions.filter((it) => it.task_index === runs.task_index);
  return own.length ? own[own.length - 1].completed_at : runs.started_at;
}

function showTimeline(process, tasks, executions, runs, live) {
  const bars = executions.map((it) => ({ ...it, from: Date.parse(it.started_at), to: Date.parse(it.completed_at), word: it.outcome }));
  if (runs) bars.push({ task_index: runs.task_index, from: Date.parse(runningSince(runs, live, executions)), to: now(), word: "IN_PROGRESS" });
  const svg = $("gantt");
  const [rowHeight, left, width] = [24, 150, 900];
  svg.setAttribute("viewBox", "0 0 " + width + " " + (tasks.length * rowHeight + 20));
  const from = Math.min(...bars.map((it) => it.from), process.started_at ? Date.parse(process.started_at) : Infinity);
  const to = Math.max(...bars.map((it) => it.to), process.completed_at ? Date.parse(process.completed_at) : -Infinity);
  const span = Math.max(1, to - from);
  const parts = [];
  tasks.forEach((task, i) => {
    const name = task.name.length > 19 ? task.name.slice(0, 18) + "…" : task.name;
    parts.push(svgElement("text", { x: 0, y: i * rowHeight + 16 }, name));
    parts.push(svgElement("line", { x1: left, x2: width, y1: i * rowHeight + 12, y2: i * rowHeight + 12, stroke: "var(--line)" }));
  });
  for (const bar of bars) {
    const x = left + ((bar.from - from) / span) * (width - left - 4);
    const long = Math.max(3, ((bar.to - bar.from) / span) * (width - left - 4));
    const rect = svgElement("rect", { x, y: bar.task_index * rowHeight + 4, width: long, height: 16, rx: 2, class: "bar " + bar.word + (bar.word === "IN_PROGRESS" ? " live" : "") });
    rect.append(svgElement("title", {}, tasks[bar.task_index].name + ": " + bar.word + ", " + duration((bar.to - bar.from) / 1000)));
    parts.push(rect);
  }
  if (bars.length) {
    parts.push(svgElement("text", { x: left, y: tasks.length * rowHeight + 14 }, clock(from)));
    parts.push(svgElement("text", { x: width, y: tasks.length * rowHeight + 14, "text-anchor": "end" }, duration(span / 1000) + " later"));
  }
  svg.replaceChildren(...parts);
}

function showExecutions(process, tasks, executions, runs, live) {
  const rows = executions.map((it) => ({ ...it, key: it.task_index + "." + it.attempt, word: it.outcome }));
  if (runs) {
    const started = runningSince(runs, live, executions);
    rows.push({
      key: "live", task_index: runs.task_index, attempt: runs.attempt, word: "IN_PROGRESS", started_at: started, live: true,
      duration_ms: between(started) * 1000, cpu_ms: live ? live.cpu_ms : null, peak_memory_bytes: live ? live.memory_bytes : null,
      node: process.picked_by, output_bytes: live ? live.output_bytes : null, error_message: null,
    });
  }
  for (const task of tasks) {
    if (task.status !== "WAITING_RETRY") continue;
    rows.push({ key: "wait", task_index: task.task_index, attempt: task.attempt + 1, word: "WAITING_RETRY", started_at: process.execution_time, node: "", waits: true });
  }
  fill($("executions"), rows, (it) => it.key, (it) => {
    const show = element("button", { type: "button", class: "show-output" }, it.output_bytes === null || it.output_bytes === undefined ? "show" : bytes(it.output_bytes));
    show.addEventListener("click", () => {
      chosen = { task: it.task_index, attempt: it.live ? null : it.attempt };
      $("output-card").hidden = false;
      $("output-card").scrollIntoView({ block: "nearest" });
      soon();
    });
    const outcome = element("td", { class: "wide" }, status(it.word), it.exit_code ? " exit code " + it.exit_code : "", it.signal ? " signal " + it.signal : "");
    if (it.error_message) outcome.append(element("div", { class: "error" }, it.error_message));
    return [
      tasks[it.task_index].name,
      String(it.attempt),
      outcome,
      clock(it.started_at),
      element("td", { class: "nowrap" }, it.waits ? "" : duration(it.duration_ms / 1000)),
      element("td", { class: "nowrap" }, [it.cpu_ms === null || it.cpu_ms === undefined ? "" : duration(it.cpu_ms / 1000), bytes(it.peak_memory_bytes)].filter(Boolean).join(", ")),
      nodeName(it.node),
      it.waits ? "" : show,
    ];
  });
}

// Colours and cursor movements of terminals mean nothing here.
const plain = (text) => text.replace(/\u001b(\[[0-9;?]*[ -\/]*[@-~]|\][^\u0007\u001b]*(\u0007|\u001b\\)|.)/g, "").replace(/\r\n?/g, "\n");

async function showOutput(id, tasks, executions, live) {
  const card = $("output-card");
  if (!chosen) { card.hidden = true; return; }
  const task = tasks[chosen.task];
  let shown = null;
  if (chosen.attempt === null) {
    if (live && live.task_index === chosen.task) shown = { key: "live", ...live, word: "runs, attempt " + live.attempt };
    else {
      // It has ended: what it wrote is in the audit trail.
      const last = executions.filter((it) => it.task_index === chosen.task).pop();
      if (last) chosen = { task: last.task_index, attempt: last.attempt };
    }
  }
  if (chosen.attempt !== null) {
    const key = id + " " + chosen.task + "." + chosen.attempt;
    if (shownOutput === key) return;
    const found = await ask(path(id, "/executions?task=" + chosen.task + "&attempt=" + chosen.attempt));
    const execution = found.executions[0];
    if (!execution) return;
    shown = { key, ...execution, word: execution.outcome + ", attempt " + execution.attempt };
  }
  if (!shown) shown = { key: "", command: task.command, output: "", word: "has written nothing that is known yet" };
  shownOutput = shown.key;
  card.hidden = false;
  setText("output-of", task.name + ": " + shown.word);
  setText("output-command", shown.command || task.command);
  const text = plain(shown.output || "");
  const cut = text.length > OUTPUT_SHOWN_MAX;
  setText("output-note", (cut ? "The end of the output; all of it: process-orchestrator logs " + id + " " + task.name : "Output") + (shown.key === "live" ? ", as it comes" : ""));
  const output = $("output");
  const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 24;
  setText("output", (cut ? text.slice(-OUTPUT_SHOWN_MAX) : text) || "(nothing)");
  if (atEnd || cut) output.scrollTop = output.scrollHeight;
}

// ---- orders

async function give(what, body) {
  const id = place().process;
  if (!id) return;
  setText("p-done", "…");
  try {
    const told = await order(path(id, "/" + what), body);
    setText("p-done", told && told.message ? told.message : what === "cancel" ? "cancelled, or about to be" : "due again");
  } catch (error) {
    setText("p-done", error.message);
  }
  soon();
}

$("p-cancel").addEventListener("click", () => {
  if (confirm("Cancel " + place().process + "? Its running command is ended.")) give("cancel", { reason: "cancelled on the status page" });
});
$("p-retry").addEventListener("click", () => give("retry", {}));
$("token-button").addEventListener("click", () => { $("token").value = sessionStorage.getItem("token") || ""; $("token-dialog").showModal(); });
$("token-dialog").addEventListener("close", () => {
  const token = $("token").value.trim();
  if ($("token-dialog").returnValue === "forget" || !token) sessionStorage.removeItem("token");
  else if ($("token-dialog").returnValue === "keep") sessionStorage.setItem("token", token);
  $("token").value = "";
  soon();
});

// ---- the list's filters live in the address, so that a link leads to what is seen

function go(changes) {
  const filters = place().list || new URLSearchParams();
  for (const [name, value] of Object.entries(changes)) {
    if (value) filters.set(name, value);
    else filters.delete(name);
  }
  const query = filters.toString();
  location.hash = query ? "/?" + query : "/";
}
$("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  const fields = $("filters").elements;
  const id = fields.id.value.trim();
  if (id) { fields.id.value = ""; location.hash = "/p/" + encodeURIComponent(id); return; }
  go({ status: fields.status.value, type: fields.type.value, after: "" });
});
$("older").addEventListener("click", () => go({ after: $("older").dataset.after }));
$("newest").addEventListener("click", () => go({ after: "" }));

// ---- the loop: one round at a time, none while nobody looks, slower while nobody answers

let timer = 0;
let failures = 0;
let busy = false;
let again = false;
let typesAt = 0;

async function round() {
  if (busy) { again = true; return; }
  busy = true;
  clearTimeout(timer);
  try {
    const here = place();
    $("overview").hidden = Boolean(here.process);
    $("process").hidden = !here.process;
    if (here.process) await showProcess(here.process);
    else {
      $("filters").elements.status.value = here.list.get("status") || "";
      if (Date.now() - typesAt > 60000) { typesAt = Date.now(); await showTypes(); }
      await showOverview(here.list);
    }
    failures = 0;
    $("trouble").hidden = true;
  } catch (error) {
    failures += 1;
    const gone = !(error instanceof Refused);
    $("trouble").hidden = false;
    setText("trouble", gone ? "No answer from the node (" + error.message + "); asking again." : error.message);
    if (gone || error.code >= 500) { setText("health", gone ? "no answer" : error.message); $("health").dataset.is = "bad"; }
  }
  busy = false;
  if (again) { again = false; round(); return; }
  if (!document.hidden) timer = setTimeout(round, Math.min(POLL_MS * 2 ** Math.min(failures, 4), POLL_MS_MAX));
}

function soon() { clearTimeout(timer); round(); }
addEventListener("hashchange", () => { chosen = null; shownOutput = ""; setText("p-done", ""); scrollTo(0, 0); soon(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
round();
