import type { PlaceKind } from '../db/lookup-tables.ts'

/** A part of a GitLab that a connection covers, with everything below it. */
export type Place = {
  /** null = a group or a project: GitLab was not asked which. */
  kind: PlaceKind | null
  /** The id at GitLab, which a rename or a transfer leaves alone; null = not known, or the whole instance. */
  gitlabId: string | null
  /** The full path as GitLab writes it; '' = the whole instance. */
  path: string
}

export const WHOLE_INSTANCE: Place = { kind: 'instance', gitlabId: null, path: '' }

/** By which a URL finds the place: GitLab's paths differ in more than case. */
export const matchPathOf = (path: string): string => path.toLowerCase()
