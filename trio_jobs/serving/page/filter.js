/**
 * What the lists are filtered by: the form above them.
 *
 * @module filter
 */

import { element, make, readTags, sayOrHide, writeTag } from "./text.js";

/** The filter of the lists. */
export class Filter {
  #handlers = new Set();
  /** Called when it has changed. */
  onchange = () => {};

  constructor() {
    element("filter").addEventListener("submit", (event) => event.preventDefault());
    element("filter").addEventListener("input", () => this.#changed());
    element("filter-clear").addEventListener("click", () => {
      element("filter").reset();
      this.#changed();
      element("filter-state").focus(); // the button is hidden now
    });
  }

  /** Fields of a request that every list has; null if something in the form is wrong. */
  get fields() {
    const tags = readTags(element("filter-tags").value);
    const id = element("filter-id").value.trim();
    const wrong = tags === null ? "Tags are written name=value, with spaces between them." : "";
    sayOrHide(element("filter-error"), id.length > 64 ? "No id has more than 64 characters." : wrong);
    if (tags === null || id.length > 64) return null;
    return {
      ...(Object.keys(tags).length && { tags }),
      ...(element("filter-handler").value && { handler: element("filter-handler").value }),
      ...(id && { id_prefix: id }),
      ...(element("filter-args").value && { args_contain: element("filter-args").value }),
      ...(element("filter-time").value && { newer_than: Number(element("filter-time").value) }),
    };
  }

  /** @returns {string} The state that is asked for, or nothing. */
  get state() {
    return element("filter-state").value;
  }

  /** All of it, as bulk operations take it; null if something is wrong. */
  get where() {
    const { fields } = this;
    return fields && { ...fields, ...(this.state && { state: this.state }) };
  }

  /** Show other jobs. @param {{state?: string, time?: string, handler?: string}} wanted */
  set({ state = "", time = "", handler = "" }) {
    element("filter").reset();
    this.offer([handler]);
    element("filter-state").value = state;
    element("filter-time").value = time;
    element("filter-handler").value = handler;
    this.#changed();
  }

  /** Add a tag. */
  addTag(name, value) {
    const input = element("filter-tags");
    const tags = Object.entries({ ...readTags(input.value), [name]: value });
    input.value = tags.map(([key, text]) => writeTag(key, text)).join(" ");
    this.#changed();
  }

  /** Let these handlers be chosen, among others. @param {Iterable<string>} names */
  offer(names) {
    for (const name of names) {
      if (!name || this.#handlers.has(name)) continue;
      this.#handlers.add(name);
      const option = make("option", "", name);
      option.value = name;
      const select = element("filter-handler");
      const before = [...select.options].slice(1).find((one) => one.value > name);
      select.insertBefore(option, before ?? null);
    }
  }

  #changed() {
    const { where } = this;
    element("filter-acts").hidden = where === null || Object.keys(where).length === 0;
    this.onchange();
  }
}

/** Return in words which jobs a filter selects. */
export function describe({ state, tags = {}, handler, id_prefix, args_contain, newer_than }) {
  const parts = [
    handler && `of ${handler}`,
    ...Object.entries(tags).map(([name, value]) => `with ${writeTag(name, value)}`),
    id_prefix && `whose id begins with ${id_prefix}`,
    args_contain && `whose arguments contain ${args_contain}`,
    newer_than && `of the last ${element("filter-time").selectedOptions[0].dataset.words}`,
  ].filter(Boolean);
  return `${state ? `${state} ` : ""}jobs ${parts.join(", ")}`.trim();
}
