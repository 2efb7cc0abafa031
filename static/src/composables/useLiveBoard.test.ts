import { describe, expect, it, vi } from 'vitest'

import type { LiveBoard } from '../race/board'
import type { BoardSource, Sourced } from '../state/board-source'
import { settled } from '../test-helpers'
import { BOARD_ROWS, useLiveBoard } from './useLiveBoard'

const FOUND = {
  value: { rank: 1, total: 1, rows: [] },
  asOfStart: false,
} as unknown as Sourced<LiveBoard>

describe('a board that the service ranks', () => {
  it('is requested for the latest second once the one before has come', async () => {
    const asked: number[] = []
    const respond: (() => void)[] = []
    const source = {
      rest: async () => {},
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
  it('is requested for the latest second once the source has rested', async () => {
    let endRest: () => void = () => {}
    const source = {
      board: vi.fn(async () => FOUND),
      rest: () => new Promise<void>((resolve) => (endRest = resolve)),
    }
    const { boardSecond, rank } = useLiveBoard(() => {})
    const sample = (second: number) => ({ second, output: 20 }) as Parameters<typeof rank>[1]
    void rank(source as unknown as BoardSource, sample(1))
    await settled()
    expect(boardSecond.value).toBe(1)
    for (const second of [2, 3]) void rank(source as unknown as BoardSource, sample(second))
    await settled()
    expect(source.board).toHaveBeenCalledTimes(1)
    endRest()
    await settled()
    expect(source.board.mock.calls).toEqual([
      [1, 20, BOARD_ROWS],
      [3, 20, BOARD_ROWS],
    ])
  })
  it('is not requested for a second of the ride before that waited', async () => {
    const board = vi.fn(() => new Promise<never>(() => {}))
    const source = { rest: async () => {}, board }
    const { clearBoard, rank } = useLiveBoard(() => {})
    const sample = (second: number) => ({ second, output: 20 }) as Parameters<typeof rank>[1]
    void rank(source as unknown as BoardSource, sample(7))
    void rank(source as unknown as BoardSource, sample(8))
    clearBoard()
    board.mockResolvedValueOnce(FOUND as never)
    await rank(source as unknown as BoardSource, sample(1))
    expect(board.mock.calls.map(([second]: unknown[]) => second)).toEqual([7, 1])
  })
  it.each(['comes', 'fails'])('does not disturb the next ride if it %s late', async (how) => {
    const asked: number[] = []
    const settle: [resolve: (found: typeof FOUND) => void, reject: () => void][] = []
    const source = {
      rest: async () => {},
      board: (second: number) => {
        asked.push(second)
        return new Promise((...both) => settle.push(both))
      },
    } as unknown as BoardSource
    const { board, boardFailure, clearBoard, rank } = useLiveBoard(() => {})
    const sample = (second: number) => ({ second, output: 20 }) as Parameters<typeof rank>[1]
    const earlier = rank(source, sample(7))
    clearBoard()
    void rank(source, sample(1))
    void rank(source, sample(2))
    const [resolve, reject] = settle[0]!
    if (how === 'comes') resolve(FOUND)
    else reject()
    await earlier
    expect([board.value, boardFailure.value]).toEqual([null, null])
    // The next ride's second board still waits for its first.
    expect(asked).toEqual([7, 1])
  })
})
