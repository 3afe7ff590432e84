import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig, type Plugin } from 'vite'

/** KaTeX ships every font three times; every browser that runs the panel reads woff2. */
function woff2Only(): Plugin {
  const older = /,\s*url\([^)]*\.(?:woff|ttf)\)\s*format\(["'](?:woff|truetype)["']\)/g
  return {
    name: 'woff2-only',
    enforce: 'pre',
    transform(code, id) {
      return id.includes('katex') && id.includes('.css') ? code.replace(older, '') : undefined
    },
  }
}

const backend = process.env.THINKERY_URL ?? 'http://127.0.0.1:8642'

export default defineConfig({
  plugins: [woff2Only(), svelte()],
  build: {
    target: 'es2022',
    // The content security policy allows no `data:` font and no inline script.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 300,
  },
  worker: { format: 'es' },
  server: {
    proxy: Object.fromEntries(
      ['/api', '/v1', '/healthz'].map((path) => [path, { target: backend }]),
    ),
  },
  test: { include: ['src/**/*.test.ts'] },
} as Parameters<typeof defineConfig>[0])
