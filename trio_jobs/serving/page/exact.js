/**
 * JSON with exact integers: those that a JavaScript number cannot hold are BigInts.
 *
 * @module exact
 */

const LONG = /\d{16}/; // a shorter number always fits
const TEXT_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g;
const WHOLE = /^-?\d+$/;
const MARK = "\0whole "; // no server accepts or sends NUL
const MARKED = /"\\u0000whole (-?\d+)"/g;

/** @param {string} text @returns {any} */
export function readJSON(text) {
  const value = JSON.parse(text); // raises if it is no JSON
  if (!LONG.test(text)) return value;
  const marked = text.replace(TEXT_OR_NUMBER, (found) =>
    WHOLE.test(found) && !Number.isSafeInteger(Number(found)) ? `"\\u0000whole ${found}"` : found,
  );
  return marked === text ? value : JSON.parse(marked, (_, one) => unmarked(one));
}

/** @param {any} value */
function unmarked(value) {
  return typeof value === "string" && value.startsWith(MARK) ? BigInt(value.slice(MARK.length)) : value;
}

/** @param {any} value @param {number} [indent] @returns {string} */
export function writeJSON(value, indent) {
  let marks = false;
  const text = JSON.stringify(
    value,
    (_, one) => {
      if (typeof one !== "bigint") return one;
      marks = true;
      return `${MARK}${one}`;
    },
    indent,
  );
  return marks ? text.replace(MARKED, "$1") : text;
}
