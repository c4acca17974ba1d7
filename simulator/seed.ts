import type { World } from './world.ts'

export const SEEDED_APP = {
  clientId: 'simulator-client',
  clientSecret: 'gloas-FAKE-simulator-client-secret',
  redirectUris: ['http://127.0.0.1:8080/oauth/simulator/callback'],
}

/** Two companies, two people who work in them, and one who was let go. */
export const seed = (world: World): void => {
  world.addUser({ username: 'maria', name: 'Maria Rossi' })
  world.addUser({ username: 'tom', name: 'Tom Novak' })
  world.addUser({ username: 'blake', name: 'Blake Reed' })
  world.blockUser('blake')
  world.addGroup({ fullPath: 'acme', members: ['maria', 'tom'] })
  world.addGroup({ fullPath: 'acme/platform' })
  world.addGroup({ fullPath: 'globex', members: ['tom'] })
  world.addProject({ fullPath: 'acme/web-shop' })
  world.addProject({ fullPath: 'acme/platform/api' })
  world.addProject({ fullPath: 'globex/site' })
  world.addProject({ fullPath: 'globex/public-docs', visibility: 'public' })
  world.addApp(SEEDED_APP)
}
