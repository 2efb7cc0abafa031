import { describe, expect, it, vi } from 'vitest'

import type { LiveBoard } from '../race/board'
import type { BoardSource, Sourced } from '../state/board-source'
import { useLiveBoard } from './useLiveBoard'

const FOUND = {
  value: { rank: 1, total: 1, rows: [] },
  asOfStart: false,
} as unknown as Sourced<LiveBoard>

describe('a board that the service ranks', () => {
  it('is requested for the latest second once the one before has come', async () => {
    const asked: number[] = []
    const respond: (() => void)[] = []
    const source = {
      board: (second: number) => {
        asked.push(second)
        return new Promise((resolve) => respond.push(() => resolve(FOUND)))
      },
    } as unknown as BoardSource
    const ranked: number[] = []
    const { boardSecond, rank } = useLiveBoard((second) => ranked.push(second))
    const sample = (second: number) => ({ second, output: 20 }) as Parameters<typeof rank>[1]

    const first = rank(source, sample(1))
    void rank(source, sample(2))
    void rank(source, sample(3))
    expect(asked).toEqual([1])
    respond[0]?.()
    await first
    expect(asked).toEqual([1, 3])
    respond[1]?.()
    await new Promise((next) => setImmediate(next))
    expect(ranked).toEqual([1, 3])
    expect(boardSecond.value).toBe(3)
  })
  it('does not hold up that of the next ride', async () => {
    const source = { board: vi.fn(() => new Promise(() => {})) } as unknown as BoardSource
    const { boardSecond, clearBoard, rank } = useLiveBoard(() => {})
    const sample = (second: number) => ({ second, output: 20 }) as Parameters<typeof rank>[1]
    void rank(source, sample(7))
    clearBoard()
    vi.mocked(source.board).mockResolvedValueOnce(FOUND)
    await rank(source, sample(1))
    expect(boardSecond.value).toBe(1)
  })
})
