// Numbers as the workbook shows them, each by the style of its column.

import type { Cell } from "./data";

export const ABSENT = "N/A";

export function shown(value: Cell, style: string): string {
  if (value === null) return ABSENT;
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return value;
  return numberText(value, style);
}

export function numberText(value: number, style: string): string {
  const size = Math.abs(value);
  if (style === "cosine") return value.toFixed(7);
  if (style === "share") return value.toFixed(4);
  const tail = style === "percent" ? "%" : "";
  if (Number.isInteger(value) && size < 1_000_000 && style !== "factor") return `${value}${tail}`;
  if (style === "factor") return factorText(value);
  if (style === "value") return valueText(value);
  return (size >= 1e-2 && size < 1e4 ? value.toFixed(4) : exponent(value, 2)) + tail;
}

export function factorText(value: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return "∞×";
  if (size >= 1e7 || (size > 0 && size < 1e-2)) return `${exponent(value, 1)}×`;
  return size >= 100 ? `${Math.round(value).toLocaleString("en-US")}×` : `${value.toFixed(2)}×`;
}

// A share of a type's range.
export function shareText(share: number): string {
  if (!Number.isFinite(share)) return "NaN/Inf";
  return share >= 1e-4 || share === 0 ? `${quantity(100 * share)} %` : "< 0.01 %";
}

export function shareHeat(share: number): number {
  if (!(share > 1e-3)) return 0;
  return share === Infinity ? 6 : share > 0.5 ? 5 : share > 0.1 ? 4 : share > 0.03 ? 3 : share > 0.01 ? 2 : 1;
}

// A measured number, short: 1.6e-3, 0.25.
export function quantity(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? "inf" : String(value);
  const size = Math.abs(value);
  if (value === 0 || (size >= 1e-2 && size < 1e4)) return String(Number(value.toPrecision(3)));
  const [mantissa, power] = value.toExponential(1).split("e");
  return `${mantissa.replace(/\.0$/, "")}e${Number(power)}`;
}

// A relative error as its column in the table shows it; a dash where none was measured.
export function errorText(error: number): string {
  return Number.isNaN(error) ? "–" : Number.isFinite(error) ? numberText(error, "error") : quantity(error);
}

function valueText(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e3) return value.toFixed(6);
  return size >= 1e3 && size < 1e6 ? value.toFixed(3) : exponent(value, 5);
}

function exponent(value: number, digits: number): string {
  const [mantissa, power] = value.toExponential(digits).split("e");
  const sign = power.startsWith("-") ? "-" : "+";
  return `${mantissa}E${sign}${power.slice(1).padStart(2, "0")}`;
}

// How warm an excess is: 0 up to 2 times what is expected, 6 from a thousand times on.
export function heat(excess: number): number {
  if (!(excess > 2)) return 0;
  return Math.max(1, Math.min(6, Math.ceil(2 * Math.log10(excess))));
}
