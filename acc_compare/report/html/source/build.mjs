// Builds the bundle that the Python package carries: ../page.js, ../page.css and ../LICENSES.txt.
// The same sources and package-lock.json give the same bytes.
import { build } from "esbuild";
import { readFileSync, writeFileSync } from "node:fs";

const out = process.argv[2] ?? "..";

await build({
  entryPoints: { page: "src/main.ts" },
  bundle: true,
  minify: true,
  charset: "ascii",
  format: "iife",
  target: ["es2022"],
  legalComments: "none",
  outdir: out,
  logLevel: "warning",
});
await build({
  entryPoints: { page: "src/page.css" },
  bundle: true,
  minify: true,
  legalComments: "none",
  outdir: out,
  logLevel: "warning",
});

for (const name of ["page.js", "page.css"]) {
  const content = readFileSync(`${out}/${name}`, "utf8");
  // The bundle stands inside <script> and <style>, where these would end it.
  if (/<\/(script|style)|<!--/i.test(content)) throw new Error(`${name} would end its own element`);
}

const parts = ["uplot", "@dagrejs/dagre", "@dagrejs/graphlib"];
const texts = parts.map((name) => {
  const about = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
  const license = readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim();
  return `${name} ${about.version} (${about.license})\n\n${license}\n`;
});
writeFileSync(`${out}/LICENSES.txt`, `Parts of page.js and page.css are made from these packages.\n\n${texts.join("\n\n")}`);
