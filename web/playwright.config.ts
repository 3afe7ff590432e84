import { defineConfig } from '@playwright/test'

/** Chromium calls home in many ways; none of them belongs in a test that counts requests. */
const QUIET = [
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--disable-gpu',
  '--disable-quic',
]

export default defineConfig({
  testDir: 'tests',
  // One server, one story: the tests follow each other as a user's day does.
  workers: 1,
  fullyParallel: false,
  forbidOnly: !!process.env.CI,
  // Generous: a machine with two busy cores is slow, not wrong.
  timeout: 240_000,
  expect: { timeout: 30_000 },
  reporter: [['./tests/reporter.ts']],
  outputDir: 'test-results',
  use: {
    browserName: 'chromium',
    viewport: { width: 1280, height: 800 },
    colorScheme: 'light',
    screenshot: 'only-on-failure',
    trace: 'retain-on-failure',
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: process.getuid?.() === 0 ? ['--no-sandbox', ...QUIET] : QUIET,
    },
  },
})
