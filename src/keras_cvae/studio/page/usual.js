// What is usual: KL and log p of the model's own draws, found while nothing else happens.

import { normals, uniforms } from "./numbers.js";

const DRAWS = 48, AT_ONCE = 4;

/** Nine in ten of the model's own draws lie above `low`, and nine in ten below `high`. */
export class Usual {
  constructor(model) {
    this.model = model;
    this.kl = [];
    this.logP = [];
    this.next = uniforms(12345);
  }

  get known() {
    return this.kl.length >= DRAWS;
  }

  range(name) {
    const sorted = [...this[name]].sort((a, b) => a - b);
    return [sorted[Math.floor(0.1 * sorted.length)], sorted[Math.floor(0.9 * sorted.length)]];
  }

  /** Draw a few more, until there are enough; `done` is told. */
  find(done) {
    if (this.known || this.busy) return;
    this.busy = true;
    const more = () => {
      this.some();
      if (!this.known) return setTimeout(more, 30);
      this.busy = false;
      return done();
    };
    setTimeout(more, 400);
  }

  some() {
    const { model } = this, start = model.condition.start();
    const sweep = model.condition.sweep(start) || [["", start]];
    const conditions = Array.from({ length: AT_ONCE }, () =>
      sweep[Math.floor(this.next() * sweep.length)][1]);
    const noise = normals(AT_ONCE * model.dim, this.kl.length + 1, 99);
    const x = model.generate(conditions, noise, { sample: this.kl.length + 5 });
    const found = model.score(x, conditions);
    this.kl.push(...found.kl);
    if (found.elbo) this.logP.push(...found.elbo);
  }
}
