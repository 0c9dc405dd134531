// The sentences of the page in its language, filled in.

let table: Record<string, string> = {};

export function setWords(words: Record<string, string>): void {
  table = words;
}

export function say(key: string, values: Record<string, string | number> = {}): string {
  const sentence = table[key];
  if (sentence === undefined) throw new Error(`no sentence ${key}`);
  return sentence.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = values[name];
    return typeof value === "number" ? value.toLocaleString("en-US") : String(value);
  });
}
