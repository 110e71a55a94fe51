export { type GatewayConfig, type GatewayConfigInput, gatewayConfig } from "./config.ts";
export { type Gateway, startGateway } from "./gateway.ts";
