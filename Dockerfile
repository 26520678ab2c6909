FROM node:24-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# The script at its end needs the program, which is not here yet.
RUN npm ci --omit=dev --ignore-scripts

FROM node:24-slim
# Without authentication a node that listens beyond loopback starts only with ALLOW_UNAUTHENTICATED=true.
ENV NODE_ENV=production HOST=0.0.0.0 DATA_DIR=/data
WORKDIR /app
RUN install -d -o node -g node /data
COPY --from=dependencies /app/node_modules node_modules
COPY . .
RUN node scripts/warm-up.ts
USER node
VOLUME /data
EXPOSE 3000 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.HTTP_PORT || 3000}/health/live`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "--max-semi-space-size=16", "--no-allocation-site-pretenuring", "--import", "./scripts/compile-cache.js", "scripts/start.ts"]
