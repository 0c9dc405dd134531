// Light and dark: what the system asks for, until the reader chooses; paper is light.

import { byId } from "./dom";

const KEY = "acc-theme";

export function setUpTheme(changed: () => void): void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const kept = recall();
  if (kept) root.dataset.theme = kept;
  const button = byId("theme");
  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
      root.dataset.theme = dark ? "light" : "dark";
      remember(root.dataset.theme);
      changed();
    });
  }
  system.addEventListener("change", changed);
  let before: string | undefined;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    changed();
  });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before;
    else delete root.dataset.theme;
    changed();
  });
}

// A page opened from disk may have no storage.
function recall(): string | null {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === "dark" || kept === "light" ? kept : null;
  } catch {
    return null;
  }
}

function remember(theme: string): void {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // It is asked again next time.
  }
}
