// Builds ../static from what stands here: bundles named after their content, compressed copies, and a manifest.
//
//     node build.mjs PACKAGES TARGET
//
// PACKAGES is the folder whose node_modules has what package-lock.json pins. TARGET is replaced as a whole.
import { createRequire } from "node:module";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { createHash } from "node:crypto";

const [packages, target] = process.argv.slice(2);
const here = fileURLToPath(new URL(".", import.meta.url));
const modules = realpathSync(join(packages, "node_modules"));
const require = createRequire(pathToFileURL(join(packages, "package.json")));
const esbuild = require("esbuild");

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });

const result = await esbuild.build({
  absWorkingDir: here,
  entryPoints: { app: "js/app.js", style: "css/app.css" },
  outdir: target,
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  bundle: true,
  minify: true,
  splitting: true,
  format: "esm",
  target: ["chrome120", "firefox121", "safari17.2"],
  loader: { ".woff2": "file" },
  nodePaths: [modules],
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
});

const files = {};
for (const [path, output] of Object.entries(result.metafile.outputs)) {
  const name = basename(path);
  if (output.entryPoint === "js/app.js") files["app.js"] = name;
  else if (output.entryPoint === "css/app.css") files["app.css"] = name;
  else if (name.startsWith("inter-latin-wght-normal")) files["inter.woff2"] = name;
  else files[name] = name;
}
for (const name of readdirSync(join(here, "images"))) {
  const bytes = readFileSync(join(here, "images", name));
  const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 8).toUpperCase();
  const hashed = name.replace(/(\.[^.]+)$/, `-${hash}$1`);
  copyFileSync(join(here, "images", name), join(target, hashed));
  files[name] = hashed;
}

const best = { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } };
for (const name of readdirSync(target)) {
  if (!/\.(js|css|svg)$/.test(name)) continue;
  const bytes = readFileSync(join(target, name));
  for (const [suffix, packed] of [[".br", brotliCompressSync(bytes, best)], [".gz", gzipSync(bytes, { level: 9 })]]) {
    if (packed.length < bytes.length) writeFileSync(join(target, name + suffix), packed);
  }
}

// Whose code is in it, and under which terms.
const used = new Set();
for (const input of Object.keys(result.metafile.inputs)) {
  const found = relative(modules, join(here, input)).match(/^((?:@[^/]+\/)?[^/.][^/]*)\//);
  if (found) used.add(found[1]);
}
const licenses = [...used].sort().map((name) => {
  const folder = join(modules, name);
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
  return `${name} ${version} (${license})\n\n${file ? readFileSync(join(folder, file), "utf8").trim() : ""}\n`;
});
writeFileSync(join(target, "LICENSES.txt"), licenses.join(`\n${"-".repeat(78)}\n\n`));

// What the script of every page imports by itself, so that the browser need not find out one after the other.
const outputs = Object.fromEntries(Object.entries(result.metafile.outputs).map(([path, output]) => [basename(path), output]));
const preload = [];
const walk = (name) => {
  for (const { path, kind } of outputs[name].imports) {
    const next = basename(path);
    if (kind !== "import-statement" || preload.includes(next)) continue;
    preload.push(next);
    walk(next);
  }
};
walk(files["app.js"]);
writeFileSync(join(target, "manifest.json"), `${JSON.stringify({ files, preload }, null, 1)}\n`);

const size = (name) => statSync(join(target, `${name}.gz`)).size;
console.log(`app.js ${size(files["app.js"])} and app.css ${size(files["app.css"])} bytes with gzip`);
