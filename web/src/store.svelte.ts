/** Holds the state for the views: what reads it is run again when it changes. */

import type { Event } from "./state/event.js";
import { reduce } from "./state/reduce.js";
import { INITIAL, type State } from "./state/state.js";

export class Store {
  // Raw: the state is a value that is replaced, never changed in place, so there is nothing to watch inside of it.
  #state = $state.raw<State>(INITIAL);

  get state(): State {
    return this.#state;
  }

  dispatch(event: Event): void {
    this.#state = reduce(this.#state, event);
  }
}
