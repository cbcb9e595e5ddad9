// Starts Swagger UI on this service's own description. Relative addresses: it may stand behind any path.
SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#swagger',
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
