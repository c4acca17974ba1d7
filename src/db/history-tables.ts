/** A node is a folder DATA_DIR; it counts up here and on its disk, and so notices when the database went back. */
export type Heartbeats = {
  node_id: string
  beat: string
  at: Date
}

/** One row at most. */
export type DatabaseHistory = {
  id: number
  went_back_at: Date
}
