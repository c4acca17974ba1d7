import swagger, { type FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import { PROBLEM_MEDIA_TYPE } from './problem-schema.ts'
import type { App } from './server.ts'

const DESCRIPTION = `Holds the GitLab credentials of a scanning platform and hands a scanner a token that works, now and until its scan ends.

Start here: an **instance** (gitlab.com is there already), an **OAuth app** on it, then **access keys** for your backends. Press *Authorize* and paste an access key.

Errors are \`application/problem+json\` (RFC 9457); branch on \`code\`. Times are RFC 3339 in UTC, durations are seconds.`

type Operation = { responses?: Record<string, { content?: Record<string, { schema?: object }> }> }
type Document = Extract<
  Parameters<NonNullable<FastifyDynamicSwaggerOptions['transformObject']>>[0],
  { openapiObject: unknown }
>['openapiObject']

/** Gives every problem answer the schema that all of them share. */
const nameProblems = (document: Document): Document => {
  for (const operations of Object.values(document.paths ?? {})) {
    for (const operation of Object.values(operations ?? {})) {
      for (const response of Object.values((operation as Operation).responses ?? {})) {
        const problem = response.content?.[PROBLEM_MEDIA_TYPE]
        if (problem) problem.schema = { $ref: '#/components/schemas/Problem' }
      }
    }
  }
  return document
}

/** Swagger UI draws with inline styles and data: pictures; scripts and requests are ours alone. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self' data:",
  "connect-src 'self'",
  "form-action 'none'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ')

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
      tags: [
        {
          name: 'Instances',
          description:
            'Start here: GitLab servers and how far each is trusted. gitlab.com is there from the start.',
        },
        {
          name: 'OAuth apps',
          description:
            'Then: the applications, registered at GitLab, through which people authorize. Without one, people connect by token.',
        },
        {
          name: 'Access keys',
          description: 'Then: what each of your programs presents, with no more rights than it needs.',
        },
        {
          name: 'Connections',
          description:
            'GitLab accounts that were connected, and links with which people connect them. For people there is a page: /connect.',
        },
        {
          name: 'Credentials',
          description: 'What scanners ask for: a token that works until the scan ends.',
        },
        {
          name: 'Audit',
          description: 'Who did what, and which token was handed out to whom; nothing of it can be changed.',
        },
        { name: 'Browser', description: 'Pages and redirects; for people, not for programs.' },
        { name: 'Service', description: 'Health and this description.' },
      ],
      components: {
        securitySchemes: {
          access_key: { type: 'http', scheme: 'bearer', description: 'An access key: gtb_...' },
        },
      },
      security: [{ access_key: [] }],
    },
    transformObject: (document) =>
      'openapiObject' in document ? nameProblems(document.openapiObject) : document.swaggerObject,
    refResolver: {
      buildLocalReference: (json, _baseUri, _fragment, index) =>
        typeof json.$id === 'string' ? json.$id : `def-${index}`,
    },
  })
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: CONTENT_SECURITY_POLICY,
    uiConfig: {
      // Without the bar that loads descriptions from elsewhere.
      layout: 'BaseLayout',
      persistAuthorization: true,
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
