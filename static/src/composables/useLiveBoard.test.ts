import { describe, expect, it } from 'vitest'

import type { LiveBoard } from '../race/board'
import type { BoardSource } from '../state/board-source'
import { useLiveBoard } from './useLiveBoard'

describe('a board that the service ranks', () => {
  it('is requested for the latest second once the one before has come', async () => {
    const asked: number[] = []
    const respond: (() => void)[] = []
    const found = { rank: 1, total: 1, rows: [] } as unknown as LiveBoard
    const source = {
      kind: 'service',
      board: (second: number) => {
        asked.push(second)
        return new Promise<LiveBoard>((resolve) => respond.push(() => resolve(found)))
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
  it('does not hold up the board of a history, in the next ride', async () => {
    const slow = { kind: 'service', board: () => new Promise(() => {}) } as unknown as BoardSource
    const found = { rank: 1, total: 1, rows: [] } as unknown as LiveBoard
    const history = { kind: 'history', board: () => found } as unknown as BoardSource
    const { boardSecond, clearBoard, rank } = useLiveBoard(() => {})
    const sample = (second: number) => ({ second, output: 20 }) as Parameters<typeof rank>[1]
    void rank(slow, sample(7))
    clearBoard()
    await rank(history, sample(1))
    expect(boardSecond.value).toBe(1)
  })
})
