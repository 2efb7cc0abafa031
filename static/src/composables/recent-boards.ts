/** Boards of races, as they are pushed. */
import type { RaceBoard } from '../api/client'

/** Maximum number of boards that are kept: more than a class rides at once, and a page that stays open does not grow. */
export const BOARDS_MAX = 50

/** Keeps a board. Of too many, those that changed longest ago leave, except where `isNeeded`. */
export function keepBoard(
  boards: Map<number, RaceBoard>,
  board: RaceBoard,
  isNeeded: (raceId: number) => boolean = () => false,
): void {
  // The map is in the order of changes.
  boards.delete(board.raceId)
  boards.set(board.raceId, board)
  const others = [...boards.keys()].filter((raceId) => !isNeeded(raceId))
  for (const raceId of others.slice(0, -BOARDS_MAX)) boards.delete(raceId)
}
