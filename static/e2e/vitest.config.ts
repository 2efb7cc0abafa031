import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ['**/*.e2e.ts'],
    // A race takes a quarter of a minute at the greatest speed.
    testTimeout: 90_000,
    hookTimeout: 60_000,
    // One browser and one service at a time, so that a small machine keeps up with the race's clock.
    fileParallelism: false,
  },
})
