import { expect, it, vi } from 'vitest'

import { history, leaderboard } from '../api/client'
import { boardNow, loadSource } from './board-source'

vi.mock('../api/client', () => ({ history: vi.fn(), leaderboard: vi.fn() }))

const RIDER = { racerId: 7, output: 200 }
const SUMMARY = { classId: 1, historyBytes: 1 } as Parameters<typeof loadSource>[0]

it('the boards of a history follow the bests since, except those of the ride itself', async () => {
  vi.mocked(leaderboard).mockResolvedValue({ standings: [] } as never)
  vi.mocked(history).mockResolvedValue({ 5: { 7: 150, 8: 180 } })
  const source = await loadSource(SUMMARY, 7, vi.fn())
  const rankAt = async (second: number) => (await source.board(second, 200, 9)).rank
  expect(await rankAt(5)).toBe(1)
  source.raise([
    { second: 5, racerId: 8, output: 210 },
    { second: 5, racerId: 8, output: 190 },
    { second: 5, racerId: 9, output: 220 },
    { second: 6, racerId: 9, output: 230 },
    { second: 5, racerId: 7, output: 250 },
  ])
  expect(await rankAt(5)).toBe(3)
  expect(await rankAt(6)).toBe(2)
  expect(source.best(5)).toBe(150)
  expect(source.record(5)).toEqual({ racerId: 9, output: 220 })
})

/** The board of a service that stores `best` as the rider's own, and 210 and 190 of others. */
function serve(best: number | null): void {
  vi.mocked(leaderboard).mockImplementation(async (_, { racers, racerId = 0, output = 0 }) => {
    const stored = [
      { racerId: 8, output: 210 },
      { racerId: 9, output: 190 },
      ...(best === null ? [] : [{ racerId: 7, output: best }]),
    ]
    const others = stored.filter((row) => row.racerId !== racerId || row.output > output)
    const isBeaten = others.every((row) => row.racerId !== racerId)
    const all = racers
      ? stored.filter((row) => racers.includes(row.racerId))
      : [...others, ...(isBeaten ? [{ racerId, output }] : [])]
    const sorted = all.sort((a, b) => b.output - a.output || a.racerId - b.racerId)
    const rankOf = (output: number) => 1 + all.filter((row) => row.output > output).length
    const standings = sorted.map((row) => ({ ...row, rank: rankOf(row.output) }))
    return { total: standings.length, standings } as never
  })
}

it.each([
  ['before the ride is stored', null],
  ['once the ride is stored', 200],
  ['below an earlier best', 250],
  ['above an earlier best', 100],
])('the place now is that of the last output %s', async (_, best) => {
  serve(best)
  const { rank, total, rows } = await boardNow(1, 300, RIDER, 9)
  expect([rank, total]).toEqual([2, 3])
  expect(rows.map(({ racerId }) => racerId)).toEqual([8, 7, 9])
})
