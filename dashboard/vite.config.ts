import { defineConfig } from 'vite';

// The server to develop against. Its Host is kept: a rewritten one makes every change a request from another site.
const server = process.env.MODELRAMP_URL ?? 'http://127.0.0.1:3000';

export default defineConfig({
  base: '/dashboard/',
  esbuild: { jsx: 'automatic' },
  build: {
    outDir: 'dist',
    // Nothing inline: the policy of the page allows no script and no style of its own.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    target: 'es2023',
    // tools/size.mjs holds the whole first load to its budget.
    chunkSizeWarningLimit: 600,
    // The licences of what is bundled go with it.
    license: { fileName: 'licences.md' },
  },
  server: { proxy: { '/api': server, '/rpc': server, '/login': server } },
});
