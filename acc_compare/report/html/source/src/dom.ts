// Elements by hand: whatever comes from a dump goes in as text and never as markup.

type Attributes = Record<string, string | number | boolean | undefined>;
type Child = Node | string | undefined | null | false;

const SVG = "http://www.w3.org/2000/svg";

function fill<T extends Element>(node: T, attributes: Attributes, children: Child[]): T {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    node.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children) {
    if (child || child === "") node.append(child);
  }
  return node;
}

export function el<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name: string, attributes: Attributes = {}, ...children: Child[]): SVGElement {
  return fill(document.createElementNS(SVG, name) as SVGElement, attributes, children);
}

export function byId(id: string): HTMLElement | null {
  return document.getElementById(id);
}

export function body(section: string): HTMLElement {
  const found = document.querySelector<HTMLElement>(`#${section} > .body`);
  if (!found) throw new Error(`no section ${section}`);
  return found;
}

export function clear(node: Element): void {
  node.replaceChildren();
}

// The colours of the theme that is on, for what is drawn and not styled.
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
