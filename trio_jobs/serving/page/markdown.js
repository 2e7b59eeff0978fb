/**
 * Markdown as elements. Every text becomes a text node, so HTML is text too, and only http and https become links.
 * Time is in proportion to the length, whatever the text is.
 *
 * @module markdown
 */

import { make } from "./text.js";

/** @typedef {string|{tag: string, nodes: Tree[], href?: string, start?: number}} Tree */

const DEEPEST = 8; // lists and quotes in each other; deeper ones are text
const MOST_OPEN = 16; // marks that wait for their ends; more are text
const FENCE = /^ {0,3}(`{3,}|~{3,})[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*)$/;
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^ {0,3}(?:[-*+]|(\d{1,9})[.)])(?: +|$)/;
const BAR = /(?<!\\)\|/;
const TOKEN =
  /\\[!-/:-@[-`{-~]|`+|~~|\*{1,3}|_{1,3}|\[|\]\(\s*<?(https?:\/\/[^\s<>()]+(?:\([^\s<>()]*\)[^\s<>()]*)*)>?(?:\s+"[^"]*")?\s*\)|\]|\bhttps?:\/\/[^\s<>"`|[\]]+|\n/gi;
const TAGS = { "*": ["em"], _: ["em"], "**": ["strong"], __: ["strong"], "***": ["strong", "em"], ___: ["strong", "em"], "~~": ["del"] };
const WORD = /[\p{L}\p{N}]/u;

/**
 * Make the elements of a text.
 *
 * @param {string} text
 * @returns {DocumentFragment}
 */
export function render(text) {
  const made = document.createDocumentFragment();
  for (const tree of parse(text)) made.append(build(tree));
  return made;
}

/** @param {Tree} tree @returns {Node|string} */
function build(tree) {
  if (typeof tree === "string") return tree;
  const made = make(tree.tag);
  for (const one of tree.nodes) made.append(build(one));
  if (tree.href) Object.assign(made, { href: tree.href, title: tree.href, target: "_blank", rel: "noopener noreferrer nofollow" });
  if (tree.start !== undefined && tree.start !== 1) made.start = tree.start;
  // Of a paragraph its own first letter decides, also in a mark; code is always from the left.
  if (/^(p|h\d|li|td|th)$/.test(tree.tag)) made.dir = "auto";
  if (/^(pre|code)$/.test(tree.tag)) made.dir = "ltr";
  return made;
}

/**
 * Return the mark of a code block that a text leaves open; empty if there is none.
 *
 * @param {string} text
 * @returns {string}
 */
export function openFence(text) {
  let open = "";
  for (const line of text.split(/\r?\n/)) {
    if (!open) open = FENCE.exec(line)?.[1] ?? "";
    else if (closes(line, open)) open = "";
  }
  return open;
}

/**
 * Return what a text says, without elements.
 *
 * @param {string} text
 * @param {number} [depth]
 * @returns {Tree[]}
 */
export function parse(text, depth = 0) {
  if (depth >= DEEPEST) return [paragraph(text)];
  const lines = text.split(/\r?\n/);
  /** @type {Tree[]} */
  const found = [];
  /** @type {string[]} */
  let words = [];
  for (let at = 0; at < lines.length; ) {
    const block = read(lines, at, depth);
    const blank = lines[at].trim() === "";
    if ((block || blank) && words.length) found.push(paragraph(words.join("\n")));
    if (block || blank) words = [];
    else words.push(lines[at]);
    if (block) found.push(block.tree);
    at = block?.next ?? at + 1;
  }
  if (words.length) found.push(paragraph(words.join("\n")));
  return found;
}

/** @param {string} text @returns {Tree} */
const paragraph = (text) => ({ tag: "p", nodes: inline(text.trim()) });

/** Return the block that begins at a line, if it is no paragraph, and where the next one begins. */
function read(lines, at, depth) {
  const line = lines[at];
  const heading = HEADING.exec(line);
  if (heading) return { tree: { tag: `h${Math.min(heading[1].length + 3, 6)}`, nodes: inline(heading[2]) }, next: at + 1 };
  if (RULE.test(line)) return { tree: { tag: "hr", nodes: [] }, next: at + 1 };
  if (FENCE.test(line)) return code(lines, at);
  if (QUOTE.test(line)) return quote(lines, at, depth);
  if (ITEM.test(line)) return list(lines, at, depth);
  return line.includes("|") ? table(lines, at) : null;
}

function code(lines, at) {
  const mark = FENCE.exec(lines[at])?.[1] ?? "";
  let end = at + 1;
  while (end < lines.length && !closes(lines[end], mark)) end += 1;
  return { tree: { tag: "pre", nodes: [lines.slice(at + 1, end).join("\n")] }, next: end + 1 };
}

function closes(line, mark) {
  const text = line.trim();
  return text.length >= mark.length && text === mark[0].repeat(text.length);
}

function quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  const text = lines.slice(at, end).map((line) => line.replace(QUOTE, "")).join("\n");
  return { tree: { tag: "blockquote", nodes: parse(text, depth + 1) }, next: end };
}

function list(lines, at, depth) {
  const number = ITEM.exec(lines[at])?.[1];
  const nodes = [];
  let end = at;
  for (let item = ITEM.exec(lines[end]); item && !item[1] === !number; item = ITEM.exec(lines[end] ?? "x")) {
    const own = [lines[end].slice(item[0].length)];
    end = follow(lines, end + 1, item[0].length, own);
    const inner = parse(own.join("\n"), depth + 1);
    nodes.push({ tag: "li", nodes: inner[0]?.tag === "p" ? [...inner[0].nodes, ...inner.slice(1)] : inner });
  }
  return { tree: { tag: number ? "ol" : "ul", nodes, ...(number ? { start: Number(number) } : {}) }, next: end };
}

/** Add the further lines of a list's item, without their indentation; return where the next item or block begins. */
function follow(lines, at, width, own) {
  while (at < lines.length) {
    let next = at;
    while (next < lines.length && lines[next].trim() === "") next += 1;
    const line = lines[next] ?? "";
    const indent = line.length - line.trimStart().length;
    const lazy = next === at && ![ITEM, HEADING, FENCE, QUOTE, RULE].some((begins) => begins.test(line));
    if (next === lines.length || (indent < 2 && !lazy)) return ITEM.test(line) ? next : at;
    own.push(...Array(next - at).fill(""), line.slice(Math.min(indent, width)));
    at = next + 1;
  }
  return at;
}

function table(lines, at) {
  const head = cells(lines[at]);
  const marks = cells(lines[at + 1] ?? "");
  if (marks.length !== head.length || !marks.every((mark) => /^:?-+:?$/.test(mark))) return null;
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|")) end += 1;
  const row = (tag, texts) => ({ tag: "tr", nodes: texts.slice(0, head.length).map((text) => ({ tag, nodes: inline(text) })) });
  const nodes = [row("th", head), ...lines.slice(at + 2, end).map((line) => row("td", cells(line)))];
  return { tree: { tag: "table", nodes }, next: end };
}

function cells(line) {
  const found = line.trim().split(BAR).map((cell) => cell.trim());
  if (found[0] === "") found.shift();
  if (found[found.length - 1] === "") found.pop();
  return found;
}

/** Return the marks, links and code in a text. @param {string} text @returns {Tree[]} */
function inline(text) {
  const ends = ticks(text);
  /** @type {{mark: string, nodes: Tree[]}[]} */
  const open = [{ mark: "", nodes: [] }];
  const put = (/** @type {Tree} */ tree) => {
    const { nodes } = open[open.length - 1];
    const last = nodes[nodes.length - 1];
    if (typeof tree === "string" && typeof last === "string") nodes[nodes.length - 1] = last + tree;
    else if (tree !== "") nodes.push(tree);
  };
  /** Marks that have no end are text. */
  const unmark = (from) => {
    while (open.length > from) {
      const { mark, nodes } = /** @type {any} */ (open.pop());
      put(mark);
      for (const node of nodes) put(node);
    }
  };
  const isOpen = (mark) => open.findLastIndex((one) => one.mark === mark);
  TOKEN.lastIndex = 0;
  for (let at = 0; ; at = TOKEN.lastIndex) {
    const token = TOKEN.exec(text);
    put(text.slice(at, token?.index));
    if (token === null) break;
    let [found, href] = token;
    const { mark } = open[open.length - 1];
    if (/^(\*|_){3}/.test(found) && mark && isOpen(found) < 0 && found.startsWith(mark)) found = mark; // of **a *b***
    const after = (TOKEN.lastIndex = token.index + found.length);
    const began = isOpen(href ? "[" : found === "]" ? "[" : found);
    if (found === "\n") {
      put({ tag: "br", nodes: [] });
    } else if (found[0] === "\\") {
      put(found[1]);
    } else if (found[0] === "`") {
      const end = ends(found.length, after);
      if (end) put({ tag: "code", nodes: [text.slice(after, end)] });
      else put(found);
      TOKEN.lastIndex = end ? end + found.length : after;
    } else if (href && began > 0) {
      unmark(began + 1);
      const { nodes } = /** @type {any} */ (open.pop());
      put(link(href, nodes.length ? unlinked(nodes) : [href]));
    } else if (/^http/i.test(found)) {
      const shorter = bare(found);
      put(link(shorter, [shorter]));
      TOKEN.lastIndex = token.index + shorter.length;
    } else if (found[0] === "]") {
      if (began > 0) unmark(began);
      put(found);
    } else if (began > 0 && found !== "[" && open[began].nodes.length + open.length - began > 1 && ending(text, token.index, after)) {
      unmark(began + 1);
      const { nodes } = /** @type {any} */ (open.pop());
      put(TAGS[found].reduceRight((inner, tag) => [{ tag, nodes: inner }], nodes)[0]);
    } else if (open.length <= MOST_OPEN && (found === "[" || beginning(text, token.index, after))) {
      open.push({ mark: found, nodes: [] });
    } else {
      put(found);
    }
  }
  unmark(1);
  return open[0].nodes;
}

/** Whether a mark may begin here: text follows it, and a `_` is not inside a word. */
function beginning(text, at, after) {
  return /\S/.test(text[after] ?? " ") && (text[at] !== "_" || !WORD.test(text[at - 1] ?? " "));
}

function ending(text, at, after) {
  return /\S/.test(text[at - 1] ?? " ") && (text[at] !== "_" || !WORD.test(text[after] ?? " "));
}

/** Return a function that returns where the next run of so many backticks is; it is asked from left to right. */
function ticks(text) {
  /** @type {Map<number, number[]>} */
  const runs = new Map();
  for (const { 0: run, index } of [...text.matchAll(/`+/g)].reverse()) {
    const others = runs.get(run.length);
    if (others) others.push(index);
    else runs.set(run.length, [index]);
  }
  return (length, from) => {
    const others = runs.get(length) ?? [];
    while (others.length && others[others.length - 1] < from) others.pop();
    return others[others.length - 1];
  };
}

/** Return an address in a text without what follows it: `(see https://example.org/a).` */
function bare(found) {
  let end = found.length;
  while (/[.,;:!?'*_~\]}]/.test(found[end - 1]) || (found[end - 1] === ")" && !found.includes("("))) end -= 1;
  return found.slice(0, end);
}

/** @param {string} href @param {Tree[]} nodes @returns {Tree} */
function link(href, nodes) {
  const safe = URL.canParse(href) && ["http:", "https:"].includes(new URL(href).protocol);
  return safe ? { tag: "a", href, nodes } : { tag: "span", nodes };
}

/** Return the text of a link: it has no links in it. @param {Tree[]} nodes @returns {Tree[]} */
function unlinked(nodes) {
  return nodes.flatMap((node) => {
    if (typeof node === "string") return [node];
    return node.tag === "a" ? node.nodes : [{ ...node, nodes: unlinked(node.nodes) }];
  });
}
