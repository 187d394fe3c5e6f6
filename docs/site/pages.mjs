// The pages as mdBook wants them, and what a site of them has besides: `scripts/docs` calls it before and after mdBook.
//
//   node docs/site/pages.mjs FOLDER             copies every page there, under its own path, with the list of contents
//   node docs/site/pages.mjs --finish FROM SITE lays Markdown beside HTML, writes llms.txt, and looks for what is fetched

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, normalize, relative, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");
const BOOK = `[book]
title = "modelramp"
language = "en"
[output.html]
default-theme = "light"
preferred-dark-theme = "navy"
smart-punctuation = false
git-repository-url = ""
no-section-label = true
[output.html.search]
limit-results = 20
`;

const read = (path) => readFileSync(join(root, path), "utf8");
/// Every page of people, and where it lies.
const list = (folder) => readdirSync(join(root, folder)).filter((name) => name.endsWith(".md")).map((name) => join(folder, name));
const pages = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", ...list("docs"), ...list("docs/decisions"), ...list("schema")];

/// The links of a page, without what stands in blocks and code.
function links(text) {
  const prose = text.replaceAll(/^```[\s\S]*?^```/gm, "").replaceAll(/`[^`\n]*`/g, "");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map((found) => found[1]).filter((link) => !/^[a-z]+:/.test(link));
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
function anchors(text) {
  const headings = text.replaceAll(/^```[\s\S]*?^```/gm, "").matchAll(/^#+ (.+)$/gm);
  return new Set([...headings].map(([, heading]) => heading.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").trim().replaceAll(/\s/g, "-")));
}

/// Links that lead nowhere, and pages that the contents do not name.
function faults() {
  const found = [];
  for (const page of pages) {
    for (const link of links(read(page))) {
      const [path, anchor] = link.split("#");
      const target = path === "" ? page : normalize(join(dirname(page), path));
      if (!existsSync(join(root, target))) found.push(`${page}: ${link} leads nowhere`);
      else if (anchor && target.endsWith(".md") && !anchors(read(target)).has(anchor)) found.push(`${page}: ${link} has no such heading`);
    }
  }
  const named = new Set(links(read("docs/SUMMARY.md")).map((link) => normalize(join("docs", link))));
  for (const page of pages) if (!named.has(page) && page !== "docs/SUMMARY.md") found.push(`docs/SUMMARY.md does not name ${page}`);
  return found;
}

/// From the list of contents: headings, and pages with their titles.
function contents() {
  const lines = read("docs/SUMMARY.md").split("\n");
  return lines.flatMap((line) => {
    const [, title, link] = line.match(/^(?:- )?\[(.+)\]\((.+)\)$/) ?? [];
    if (link) return [{ title, page: normalize(join("docs", link)) }];
    return line.startsWith("# ") && line !== "# Contents" ? [{ heading: line.slice(2) }] : [];
  });
}

/// The first sentence of a page.
function opening(page) {
  const paragraph = read(page).split(/\n{2,}/).find((part) => !/^[#!|`[<]/.test(part.trim()) && part.trim() !== "") ?? "";
  const plain = paragraph.replaceAll(/\[([^\]]+)\]\([^)]+\)/g, "$1").replaceAll(/\*\*/g, "").replaceAll(/\s+/g, " ").trim();
  return plain.match(/^.*?[.:](?= |$)/)?.[0] ?? plain;
}

function begin(folder) {
  const wrong = faults();
  if (wrong.length > 0) {
    console.error(wrong.join("\n"));
    process.exit(1);
  }
  rmSync(folder, { recursive: true, force: true });
  for (const page of pages) {
    mkdirSync(dirname(join(folder, "src", page)), { recursive: true });
    writeFileSync(join(folder, "src", page), read(page));
  }
  for (const picture of ["docs/dashboard", "docs/pictures", "docs/rollout.svg", "docs/certification.svg", "docs/grafana.json", "LICENSE-MIT", "LICENSE-APACHE"]) {
    cpSync(join(root, picture), join(folder, "src", picture), { recursive: true });
  }
  const named = pages.flatMap((page) => links(read(page)).map((link) => link.split("#")[0]).filter((path) => path !== "").map((path) => normalize(join(dirname(page), path))));
  const lost = named.filter((target) => !existsSync(join(folder, "src", target)));
  if (lost.length > 0) {
    console.error(`not in the site: ${lost.join(", ")}`);
    process.exit(1);
  }
  const summary = contents().map((it) => (it.heading ? `\n# ${it.heading}\n` : it.page === "README.md" ? `[${it.title}](${it.page})` : `- [${it.title}](${it.page})`));
  writeFileSync(join(folder, "src/SUMMARY.md"), `# Contents\n\n${summary.join("\n")}\n`);
  writeFileSync(join(folder, "book.toml"), BOOK);
}

function finish(folder, site) {
  for (const page of pages) cpSync(join(folder, "src", page), join(site, page));
  const lines = contents().map((it) => (it.heading ? `\n## ${it.heading}\n` : `- [${it.title}](${it.page}): ${opening(it.page)}`));
  const about = opening("README.md");
  writeFileSync(join(site, "llms.txt"), `# modelramp\n\n> ${about}\n\nEvery page is Markdown, at these paths.\n\n${lines.join("\n")}\n`);
  const fetched = readdirSync(site, { recursive: true })
    .filter((name) => name.endsWith(".html") || name.endsWith(".css"))
    .filter((name) => /<(?:script|img|iframe)[^>]+src="https?:|<link[^>]+href="https?:|url\(["']?https?:|@import/.test(readFileSync(join(site, name), "utf8")));
  const missing = contents().filter((it) => it.page && !existsSync(join(site, it.page.replace("README.md", "index.html").replace(/\.md$/, ".html"))));
  if (fetched.length > 0 || missing.length > 0) {
    console.error(`fetched from elsewhere: ${fetched.join(", ")}\nnot made: ${missing.map((it) => it.page).join(", ")}`);
    process.exit(1);
  }
  console.log(`${pages.length} pages are in ${relative(root, resolve(site))}, each as HTML and Markdown; no page fetches anything`);
}

const [first, ...rest] = process.argv.slice(2);
if (first === "--finish") finish(...rest);
else begin(first);
