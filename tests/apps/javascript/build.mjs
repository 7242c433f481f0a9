// Makes a component of app.js: node build.mjs WIT_FOLDER OUTPUT
import { componentize } from "@bytecodealliance/componentize-js";
import { readFile, writeFile } from "node:fs/promises";

const [witPath, output] = process.argv.slice(2);
const source = await readFile(new URL("app.js", import.meta.url), "utf8");
const { component } = await componentize(source, { witPath, worldName: "app" });
await writeFile(output, component);
