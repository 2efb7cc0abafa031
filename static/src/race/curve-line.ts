/** A line of the plot. */
export interface CurveLine {
  label: string
  /** Output by second. */
  values: ReadonlyMap<number, number>
  /** A design token, `--you`. */
  color: string
  dash?: number[]
  width?: number
}
