// The page of a comparison: what needs a script is made here, in the order in which it is read.

import { BASE, Calls } from "./calls";
import { Chooser } from "./chooser";
import { Data } from "./data";
import { Detail } from "./detail";
import { body, byId, el } from "./dom";
import { Filter } from "./filter";
import { Plot } from "./plot";
import { Table } from "./table";
import { setUpTheme } from "./theme";
import { showModules } from "./tree";
import { say, setWords } from "./words";

async function start(): Promise<void> {
  let redraw = (): void => {};
  setUpTheme(() => redraw());
  setUpCopying();
  addEventListener("hashchange", unfold);
  unfold();
  if (!byId("data")) {
    document.documentElement.dataset.ready = "true";
    return;
  }
  const data = new Data();
  setWords(data.head.words);
  const digests = data.head.mode === "md5" ? ["NPU MD5", "BENCH MD5"] : [];
  await data.load([...BASE, ...digests, "Err_Message"]);
  const calls = new Calls(data);

  const accused = accusedRows(data, calls);
  const bar = el("div", { class: "bar", role: "search" });
  const count = el("p", { class: "hint", role: "status" });
  const rows = body("rows");
  rows.append(bar, count);
  const table = new Table(rows, data, (row) => (accused.has(row) ? 1 : 0), { chosen: (row) => go(row), sorted: () => {} });
  const tell = (): void => count.replaceChildren(say("table.count", { shown: table.size, all: data.rows }));
  const filter = new Filter(bar, data, calls, (mask) => {
    table.filter(mask);
    tell();
  });
  await new Chooser(bar, data, (columns) => table.show(columns)).apply();
  tell();

  const plot = new Plot(body("run"), calls, data.head.mode === "md5", { chosen: (call) => go(calls.worst[call]) });
  showModules(body("modules"), calls, {
    chosen: (path, side) => {
      filter.setModule(path, side);
      byId("rows")!.scrollIntoView();
    },
  });
  const detail = new Detail(data, calls, { chosen: (call) => go(calls.worst[call]), closed: () => forget() });
  redraw = () => {
    plot.redraw();
    detail.redraw();
  };

  async function show(row: number): Promise<void> {
    if (!table.choose(row)) {
      filter.reset();
      table.choose(row);
    }
    plot.choose(calls.ofRow[row]);
    await detail.open(row);
  }

  function go(row: number): void {
    const hash = `#row=${row + 1}`;
    if (location.hash === hash) void show(row);
    else location.hash = hash;
  }

  function forget(): void {
    if (location.hash.startsWith("#row=")) history.replaceState(null, "", location.href.split("#")[0]);
  }

  function follow(): void {
    const found = /^#row=(\d+)$/.exec(location.hash);
    const row = found ? Number(found[1]) - 1 : -1;
    if (row >= 0 && row < data.rows) {
      void show(row);
      if (byId("rows")!.getBoundingClientRect().top > innerHeight) byId("rows")!.scrollIntoView();
    }
  }

  addEventListener("hashchange", follow);
  document.addEventListener("keydown", (event) => {
    const typing = (event.target as Element).matches("input, select, textarea");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      filter.focus();
    } else if (event.key === "Escape") {
      detail.close();
    }
  });
  follow();
  document.documentElement.dataset.ready = "true";
}

// What a cell of the map leads to is folded.
function unfold(): void {
  const target = /^#pair-[\w-]+$/.test(location.hash) ? byId(location.hash.slice(1)) : null;
  if (target instanceof HTMLDetailsElement) target.open = true;
}

// The very tensors in which a suspect's error was seen; of several runs, of which a row is a call, the suspects.
function accusedRows(data: Data, calls: Calls): Set<number> {
  const found = new Set<number>();
  for (const suspect of data.head.suspects) {
    const call = calls.find(suspect.call, suspect.place);
    if (call < 0) continue;
    for (let row = calls.first[call]; row < calls.first[call + 1]; row++) {
      if (suspect.place || calls.argumentOf(row) === suspect.tensor) found.add(row);
    }
  }
  return found;
}

function setUpCopying(): void {
  for (const button of document.querySelectorAll<HTMLButtonElement>("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", () => void copy(button));
  }
}

async function copy(button: HTMLButtonElement): Promise<void> {
  const code = button.parentElement!.querySelector("code")!;
  try {
    await navigator.clipboard.writeText(code.textContent!);
  } catch {
    const range = document.createRange();
    range.selectNodeContents(code);
    getSelection()!.removeAllRanges();
    getSelection()!.addRange(range);
    document.execCommand("copy");
  }
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1200);
}

void start();
