"use strict";
// What all views use: elements, texts, times, asking.
const POLL_MS = 2000;
// While a command's output is looked at.
const POLL_LIVE_MS = 1000;
const POLL_MS_MAX = 30000;
const ANSWER_MS_MAX = 20000;

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

// ---- texts

// What steers a reader instead of being read: control characters, marks that turn the direction of writing, and what
// has no width. Shown, so that nothing hides behind it.
const STEERING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const visible = (text) => String(text).replace(STEERING, (mark) => "‹U+" + mark.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") + "›");
// Colours of terminals mean nothing here, and of a progress bar its last state is left. All else is shown.
const plain = (text) => visible(text.replace(/\u001b\[[0-9;:]*[mK]/g, "").replace(/\r+(?=\n|$)/g, "").replace(/[^\n]*\r/g, ""));

function duration(seconds) {
  if (seconds === null || seconds === undefined || !isFinite(seconds)) return "";
  if (seconds < 1) return Math.max(0, Math.round(seconds * 1000)) + " ms";
  if (seconds < 60) return number.format(seconds) + " s";
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return minutes + " min " + Math.floor(seconds % 60) + " s";
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? hours + " h " + (minutes % 60) + " min" : Math.floor(hours / 24) + " d " + (hours % 24) + " h";
}
const wholeSeconds = (seconds) => (seconds === null ? "" : seconds < 60 ? Math.floor(seconds) + " s" : duration(seconds));

// The database's clock, by what it said: this machine's own may be wrong. An answer is of a moment ago, or of some
// seconds ago when counting takes long: the freshest of the last ones tells the time.
const CLOCKS_KEPT = 30;
const clocks = [];
let clockAhead = 0;
function noteClock(time) {
  clocks.push(Date.parse(time) - Date.now());
  if (clocks.length > CLOCKS_KEPT) clocks.shift();
  clockAhead = Math.max(...clocks);
}
const now = () => Date.now() + clockAhead;
const since = (time) => (time ? Math.max(0, (now() - Date.parse(time)) / 1000) : null);
const between = (from, to) => (from ? Math.max(0, ((to ? Date.parse(to) : now()) - Date.parse(from)) / 1000) : null);

// Made once: making one takes longer than a hundred uses.
const TIME = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZoneName: "short" };
const timeOfDay = new Intl.DateTimeFormat(undefined, TIME);
const dayAndTime = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "2-digit", day: "2-digit", ...TIME });
function clock(time) {
  if (!time) return "";
  const date = new Date(time);
  return (new Date().toDateString() === date.toDateString() ? timeOfDay : dayAndTime).format(date);
}

function bytes(count) {
  if (count === null || count === undefined) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return number.format(count) + " " + units[unit];
}

// ---- elements. All text of processes gets into the page as text nodes only: it may hold anything.

function element(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) made.setAttribute(name, value);
  made.append(...children.filter((it) => it !== null && it !== undefined));
  return made;
}

function svgElement(tag, properties, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// What goes on as it was is appended to: a selection in it stays.
function setText(id, text) {
  const place = $(id);
  const [was, node] = [place.textContent, place.firstChild];
  if (was === text) return;
  if (was && text.startsWith(was) && place.childNodes.length === 1 && node instanceof Text) node.appendData(text.slice(was.length));
  else place.textContent = text;
}

const status = (word) => element("span", { class: "status " + word }, word);
const link = (id) => element("a", { href: "#/p/" + encodeURIComponent(id) }, visible(id));
const cell = (kind, ...children) => element("td", { class: kind }, ...children);
const error = (text) => cell("wide error", text ? element("div", { class: "clamp" }, visible(text)) : null);

// What was built from the same facts stays as it is: focus, selection and scroll places too.
const built = new Map();
function rebuild(id, facts, build) {
  const print = JSON.stringify(facts);
  if (built.get(id) === print) return;
  built.set(id, print);
  build($(id));
}

// What has changed of one is put into its place; the rest stays, and with it focus and selection.
function renew(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  const [was, is] = [old.firstChild, fresh.firstChild];
  if (old.childNodes.length === 1 && fresh.childNodes.length === 1 && was instanceof Text && is instanceof Text) was.data = is.data;
  else replaceFocused(old, fresh);
}

// Cells are made anew only where something in them has changed. `facts` is all that a row is made of.
function fill(id, items, key, facts, cells) {
  const body = $(id);
  const names = [...body.closest("table").tHead.rows[0].cells].map((it) => it.textContent);
  const old = new Map();
  for (const row of body.rows) old.set(row.dataset.key, row);
  items.forEach((item, i) => {
    const [its, print] = [key(item), JSON.stringify(facts(item))];
    let row = old.get(its);
    old.delete(its);
    if (!row || row.dataset.print !== print) {
      const fresh = element("tr", { role: "row" }, ...cells(item).map((it) => (it instanceof HTMLTableCellElement ? it : element("td", {}, it))));
      [...fresh.cells].forEach((it, n) => { it.setAttribute("role", "cell"); it.dataset.name = names[n]; });
      fresh.dataset.key = its;
      fresh.dataset.print = print;
      if (row && row.cells.length === fresh.cells.length) {
        [...fresh.cells].forEach((it, n) => renew(row.cells[n], it));
        row.dataset.print = print;
      } else {
        if (row) row.replaceWith(fresh);
        row = fresh;
      }
    }
    if (body.rows[i] !== row) body.insertBefore(row, body.rows[i] || null);
  });
  for (const row of old.values()) row.remove();
  const none = $(id + "-none");
  if (none) none.hidden = items.length > 0;
}

function replaceFocused(old, fresh) {
  const had = [...old.querySelectorAll("a, button")].indexOf(document.activeElement);
  old.replaceWith(fresh);
  const next = had < 0 ? null : fresh.querySelectorAll("a, button")[had];
  if (next) next.focus({ preventScroll: true });
}

// ---- asking

class Refused extends Error {
  constructor(code, message) { super(message); this.code = code; }
}

async function told(answer) {
  const text = await answer.text();
  let body = null;
  try { body = JSON.parse(text); } catch { /* told below */ }
  if (!answer.ok) throw new Refused(answer.status, body && body.error ? body.error.message : answer.status + " " + answer.statusText);
  if (body === null) throw new Error("the answer is cut off or no JSON");
  // For those who need it to the letter.
  return Object.defineProperty(body, "text", { value: text });
}

// "no-cache" asks whether what the browser has is still so: an answer that has not changed costs nothing.
async function ask(path) {
  const signal = AbortSignal.timeout(ANSWER_MS_MAX);
  return told(await fetch(path, { cache: "no-cache", headers: { Accept: "application/json" }, signal }));
}

// All pages of a list; each is bounded in bytes.
async function askAll(path, key) {
  const all = [];
  let next = "";
  do {
    const page = await ask(path + (next ? (path.includes("?") ? "&" : "?") + "after=" + encodeURIComponent(next) : ""));
    all.push(...page[key]);
    next = page.next;
  } while (next);
  return all;
}

async function order(path, body) {
  const headers = { "Content-Type": "application/json", Authorization: "Bearer " + sessionStorage.getItem("token") };
  return told(await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.timeout(ANSWER_MS_MAX) }));
}

function path(id, rest) {
  // A browser takes these for steps in the path, however they are encoded.
  if (id === "." || id === "..") throw new Refused(400, "A browser can't ask for a process of this id: use process-orchestrator show " + id);
  return "/processes/" + encodeURIComponent(id) + (rest || "");
}

// ---- where we are: #/ with the list's filters, or #/p/ID

function place() {
  const hash = location.hash.replace(/^#\/?/, "");
  if (hash.startsWith("p/")) {
    try { return { process: decodeURIComponent(hash.slice(2)) }; } catch { return { process: hash.slice(2) }; }
  }
  return { list: new URLSearchParams(hash.replace(/^\?/, "")) };
}

