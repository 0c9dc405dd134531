// The model: modules as a tree that folds, coloured by the worst excess of the calls in each.

import { BASE, type Calls } from "./calls";
import { el } from "./dom";
import { say } from "./words";

export { BASE };

class Module {
  readonly children = new Map<string, Module>();
  calls = 0;
  worst = NaN;
  onlyNpu = 0;
  onlyBench = 0;
  suspects = 0;
  item: HTMLElement | undefined;
  group: HTMLElement | undefined;

  constructor(
    readonly name: string,
    readonly path: string,
    readonly parent: Module | null,
  ) {}
}

export type Side = "npu" | "bench";

export interface TreeEvents {
  chosen: (path: string, side: Side) => void;
}

// The modules of the run; those of both sides beside one another where they are not alike.
export function showModules(holder: HTMLElement, calls: Calls, events: TreeEvents): void {
  const differ = calls.modules.some((path, call) => (calls.side[call] === 0 ? path !== calls.benchModules[call] : path !== ""));
  if (!differ || calls.isDump) {
    new Tree(holder, calls, events, "npu", false);
    return;
  }
  const trees: Tree[] = [];
  const sides = (["npu", "bench"] as const).map((side) => {
    const frame = el("div", { class: "side" }, el("h3", { id: `modules-${side}` }, say(`tree.${side}`)));
    trees.push(
      new Tree(
        frame,
        calls,
        {
          chosen: (path, from) => {
            for (const tree of trees) if (tree.side !== from) tree.point(path, from);
            events.chosen(path, from);
          },
        },
        side,
        true,
      ),
    );
    return frame;
  });
  holder.append(el("div", { class: "sides" }, ...sides));
}

class Tree {
  private readonly top = new Module("", "", null);
  private readonly root = el("ul", { role: "tree", class: "tree", "aria-labelledby": "modules-title" });
  private readonly modules: string[];
  private marked: HTMLElement[] = [];
  private focused: Module | undefined;
  private made = 0;

  constructor(
    holder: HTMLElement,
    private readonly calls: Calls,
    private readonly events: TreeEvents,
    readonly side: Side,
    isPair: boolean,
  ) {
    this.modules = side === "npu" ? calls.modules : calls.benchModules;
    const other = side === "npu" ? 2 : 1;
    if (isPair) this.root.setAttribute("aria-labelledby", `modules-${side}`);
    for (let call = 0; call < calls.size; call++) if (!isPair || calls.side[call] !== other) this.count(call);
    const open = el("button", { type: "button" }, say("tree.open"));
    const close = el("button", { type: "button" }, say("tree.close"));
    open.addEventListener("click", () => this.each(this.top, (module) => module.children.size && this.unfold(module)));
    close.addEventListener("click", () => this.each(this.top, (module) => this.fold(module)));
    const scale = [0, 1, 2, 3, 4, 5, 6].map((warmth) => el("i", { class: `heat${warmth}` }));
    const legend = el("span", { class: "scale" }, say("tree.calm"), ...scale, say("tree.hot"));
    holder.append(el("div", { class: "bar" }, open, close, legend), this.root);
    for (const child of this.top.children.values()) this.root.append(this.build(child, 1));
    this.openTo((module) => module.suspects > 0 || module.onlyNpu + module.onlyBench > 0, 200);
    const first = this.top.children.values().next().value;
    if (first) this.focus(first, false);
    this.root.addEventListener("keydown", (event) => this.key(event));
  }

  // Mark the modules whose calls answer to those in the module `path` of the other side.
  point(path: string, from: Side): void {
    const theirs = from === "npu" ? this.calls.modules : this.calls.benchModules;
    const inside = `${path}.`;
    const found = new Set<string>();
    for (let call = 0; call < this.calls.size; call++) {
      if (this.calls.side[call] === 0 && (theirs[call] === path || theirs[call].startsWith(inside))) found.add(this.modules[call]);
    }
    for (const item of this.marked) item.classList.remove("partner");
    this.marked = [];
    this.each(this.top, (module) => {
      if (!module.path || !found.has(module.path)) return;
      for (let at = module.parent; at && at !== this.top; at = at.parent) this.ensure(at);
      if (module.item) this.marked.push(module.item);
    });
    for (const item of this.marked) item.classList.add("partner");
    this.marked[0]?.scrollIntoView({ block: "nearest" });
  }

  private count(call: number): void {
    const path = this.modules[call];
    let module = this.top;
    this.add(module, call);
    if (!path) {
      // What ran in no module has a place of its own.
      this.add(this.child(module, say("tree.none"), ""), call);
      return;
    }
    for (const part of path.split(".")) {
      module = this.child(module, part, module.path ? `${module.path}.${part}` : part);
      this.add(module, call);
    }
  }

  private child(module: Module, name: string, path: string): Module {
    let found = module.children.get(name);
    if (!found) module.children.set(name, (found = new Module(name, path, module)));
    return found;
  }

  private add(module: Module, call: number): void {
    const { excess, side, suspect } = this.calls;
    module.calls++;
    if (excess[call] > module.worst || (Number.isNaN(module.worst) && !Number.isNaN(excess[call]))) module.worst = excess[call];
    if (side[call] === 1) module.onlyNpu++;
    if (side[call] === 2) module.onlyBench++;
    if (suspect[call] === 1) module.suspects++;
  }

  private build(module: Module, level: number): HTMLElement {
    const marks = [
      module.suspects ? el("span", { class: "mark suspect" }, say("tree.suspects", { number: module.suspects })) : null,
      module.onlyNpu ? el("span", { class: "mark unmatched" }, say("tree.only_npu", { number: module.onlyNpu })) : null,
      module.onlyBench ? el("span", { class: "mark unmatched" }, say("tree.only_bench", { number: module.onlyBench })) : null,
    ];
    const worst = Number.isNaN(module.worst) ? "–" : this.calls.excessText(module.worst);
    const fold = el("span", { class: "fold", "aria-hidden": "true" });
    const item = el(
      "div",
      { class: "label", role: "treeitem", "aria-level": level, tabindex: -1, "aria-selected": "false" },
      fold,
      el("span", { class: `swatch heat${this.calls.heat(module.worst)}` }, worst),
      el("span", { class: "name" }, module.name),
      el("span", { class: "muted" }, say("tree.calls", { number: module.calls })),
      ...marks,
    );
    if (module.children.size) item.setAttribute("aria-expanded", "false");
    fold.addEventListener("click", (event) => {
      event.stopPropagation();
      this.toggle(module);
      this.focus(module);
    });
    item.addEventListener("click", () => {
      this.focus(module);
      this.choose(module);
    });
    module.item = item;
    return el("li", { role: "none" }, item);
  }

  private toggle(module: Module): void {
    if (module.item?.getAttribute("aria-expanded") === "true") this.fold(module);
    else this.unfold(module);
  }

  // Children are made when their parent is first opened: a model may have thousands.
  private unfold(module: Module): void {
    if (!module.item || !module.children.size) return;
    if (!module.group) {
      const level = Number(module.item.getAttribute("aria-level")) + 1;
      module.group = el("ul", { role: "group", id: `modules-${this.side}${this.made++}` });
      for (const child of module.children.values()) module.group.append(this.build(child, level));
      module.item.setAttribute("aria-owns", module.group.id);
      module.item.after(module.group);
    }
    module.group.hidden = false;
    module.item.setAttribute("aria-expanded", "true");
  }

  private fold(module: Module): void {
    if (!module.group || !module.item) return;
    module.group.hidden = true;
    module.item.setAttribute("aria-expanded", "false");
  }

  private each(module: Module, act: (module: Module) => void): void {
    for (const child of module.children.values()) {
      act(child);
      this.each(child, act);
    }
  }

  private openTo(wanted: (module: Module) => boolean, most: number): void {
    let left = most;
    this.each(this.top, (module) => {
      if (left > 0 && wanted(module)) {
        left--;
        for (let at = module.parent; at && at !== this.top; at = at.parent) this.ensure(at);
      }
    });
  }

  private ensure(module: Module): void {
    if (module.parent && module.parent !== this.top) this.ensure(module.parent);
    if (module.item?.getAttribute("aria-expanded") !== "true") this.unfold(module);
  }

  private focus(module: Module, now = true): void {
    this.focused?.item?.setAttribute("tabindex", "-1");
    this.focused = module;
    module.item?.setAttribute("tabindex", "0");
    if (now) module.item?.focus();
  }

  private choose(module: Module): void {
    this.root.querySelectorAll('[aria-selected="true"]').forEach((item) => item.setAttribute("aria-selected", "false"));
    module.item?.setAttribute("aria-selected", "true");
    this.events.chosen(module.path, this.side);
  }

  private key(event: KeyboardEvent): void {
    const module = this.focused;
    if (!module) return;
    const isOpen = module.item?.getAttribute("aria-expanded") === "true";
    const shown = this.shown();
    const at = shown.indexOf(module);
    const go = (to: Module | null | undefined): void => {
      if (to && to !== this.top) this.focus(to);
    };
    const acts: Record<string, () => void> = {
      ArrowDown: () => go(shown[at + 1]),
      ArrowUp: () => go(shown[at - 1]),
      Home: () => go(shown[0]),
      End: () => go(shown[shown.length - 1]),
      ArrowRight: () => (isOpen ? go(module.children.values().next().value) : this.unfold(module)),
      ArrowLeft: () => (isOpen ? this.fold(module) : go(module.parent)),
      Enter: () => this.choose(module),
      " ": () => this.choose(module),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  private shown(): Module[] {
    const found: Module[] = [];
    const walk = (module: Module): void => {
      for (const child of module.children.values()) {
        found.push(child);
        if (child.item?.getAttribute("aria-expanded") === "true") walk(child);
      }
    };
    walk(this.top);
    return found;
  }
}
