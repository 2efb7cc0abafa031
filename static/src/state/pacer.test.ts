// @vitest-environment happy-dom
import { beforeEach, expect, it, vi } from 'vitest'

vi.mock('../api/client', () => ({ leaderboard: vi.fn() }))

beforeEach(() => vi.resetModules())

it('a rider who sets the pace has the name after a reload', async () => {
  const chosen = { kind: 'racer', racerId: 5, name: 'Bo' }
  localStorage.setItem('alleycat.pacer', JSON.stringify(chosen))
  const { pacer, pacerLabel } = await import('./pacer')
  expect(pacerLabel(pacer.value)).toBe('Bo')
})
