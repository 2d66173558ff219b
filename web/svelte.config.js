/** How Svelte compiles the page: runes everywhere. */

export default {
  compilerOptions: {
    runes: true,
    // The names of scoped classes stand in every template: short ones are less to load.
    cssHash: ({ hash, css }) => `s${hash(css).slice(0, 4)}`,
  },
};
