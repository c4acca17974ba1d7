import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifySchema } from 'fastify'
import { polishDescription } from './description.ts'
import { type ServedText, sendText, toServedText } from './served-text.ts'
import type { App } from './server.ts'

const DESCRIPTION = `Holds the GitLab credentials of a scanning platform and hands a scanner a token that works, now and until its scan ends.

Start here: an **instance** (gitlab.com is there already), an **OAuth app** on it, then **access keys** for your backends. Press *Authorize* and paste an access key.

Errors are \`application/problem+json\` (RFC 9457); branch on \`code\`. Times are RFC 3339 in UTC, durations are seconds.`

declare module 'fastify' {
  interface FastifySchema {
    /** Answers by status as they are described, where they are more than what the serializer is made for. */
    described?: Record<number, object>
  }
}

const describe = (schema: FastifySchema): FastifySchema =>
  schema?.described
    ? { ...schema, response: { ...(schema.response as object), ...schema.described } }
    : schema

/** Swagger UI draws with data: pictures; scripts, styles and requests are ours alone. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "font-src 'self' data:",
  "connect-src 'self'",
  "form-action 'none'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** In the order in which a newcomer needs them. */
const TAGS = [
  {
    name: 'Instances',
    description:
      'Start here. GitLab servers, and how far the service trusts each. gitlab.com is there from the start.',
  },
  {
    name: 'OAuth apps',
    description:
      'Second step. Applications that you registered at GitLab, and through which people authorize. Without one, people connect with a token.',
  },
  {
    name: 'Access keys',
    description:
      'Third step. Each of your programs presents an access key, with no more rights than the program needs.',
  },
  {
    name: 'Connections',
    description:
      'GitLab accounts that people connected, and links with which people connect them. People use the page at /connect.',
  },
  {
    name: 'Credentials',
    description: 'Scanners ask for a token that works until the scan ends.',
  },
  {
    name: 'Projects',
    description: 'What your connections reach at GitLab: the list of what there is to scan.',
  },
  {
    name: 'Audit',
    description: 'Who did what, and which token was handed out to whom; nothing of it can be changed.',
  },
  { name: 'Browser', description: 'Pages and redirects, for people and not for programs.' },
  { name: 'Service', description: 'Health, and this description.' },
]

/** Must be registered before the routes that it describes. */
export const registerApiDocs = async (app: App, publicUrl: string): Promise<void> => {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'gitlab-token-broker',
        version: '1',
        description: DESCRIPTION,
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      servers: [{ url: new URL(publicUrl).pathname }],
      tags: TAGS,
      components: {
        securitySchemes: {
          access_key: {
            type: 'http',
            scheme: 'bearer',
            description: 'An access key (gtb_...), or the JWT of a trusted issuer.',
          },
        },
      },
      security: [{ access_key: [] }],
    },
    transform: ({ schema, url }) => ({ schema: describe(schema), url }),
    transformObject: (document) =>
      'openapiObject' in document ? polishDescription(document.openapiObject) : document.swaggerObject,
    refResolver: {
      buildLocalReference: (json, _baseUri, _fragment, index) =>
        typeof json.$id === 'string' ? json.$id : `def-${index}`,
    },
  })
  let description: ServedText | undefined
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    uiHooks: {
      // The plugin writes the whole description anew for each that asks.
      onRequest(request, reply, next) {
        const { url } = request.routeOptions
        if (url === '/docs/yaml') return void reply.redirect('../openapi.yaml')
        if (url !== '/docs/json') return next()
        description ??= toServedText('application/json', JSON.stringify(app.swagger()))
        return void sendText(request, reply, description)
      },
    },
    staticCSP: CONTENT_SECURITY_POLICY,
    uiConfig: {
      // Without the bar that loads descriptions from elsewhere.
      layout: 'BaseLayout',
      // An access key that the browser keeps is there for whoever comes next, and for every script of this origin.
      persistAuthorization: false,
      // Otherwise the description of a public service is sent to a validator on the internet.
      validatorUrl: 'none',
      docExpansion: 'list',
      displayRequestDuration: true,
      tryItOutEnabled: true,
    },
  })
}

/** The description as it is committed in openapi.yaml. */
export const openApiYaml = async (app: App): Promise<string> => {
  await app.ready()
  return app.swagger({ yaml: true })
}
