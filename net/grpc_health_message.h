/* net/grpc_health_message: the messages of grpc.health.v1.Health, by hand: they are so small that a generated codec would be larger than all of this, and both sides of the house need
 * them: health/probe asks, the daemon answers its SDKs.
 *
 *   HealthCheckRequest  {string service = 1}
 *   HealthCheckResponse {ServingStatus status = 1}                          of Check and, again and again, of Watch
 *   HealthListResponse  {map<string, HealthCheckResponse> statuses = 1}
 *
 * Pure: no objects. What is read is a peer's: unknown fields are skipped, of a field that comes twice the last one counts (proto3), what breaks the wire format is refused. Texts that
 * are returned are loans from the bytes. Source: grpc/health/v1/health.proto. */
#pragma once
#include <stdbool.h>
#include "base/str.h"

enum grpc_health { GRPC_HEALTH_UNKNOWN, GRPC_HEALTH_SERVING, GRPC_HEALTH_NOT_SERVING, GRPC_HEALTH_SERVICE_UNKNOWN /* of Watch alone */ };
/* A response that we would read: one number, and room for what later versions add. Whoever gathers one refuses more. */
enum { GRPC_HEALTH_RESPONSE_MAX = 4096, GRPC_HEALTH_STATUS_BYTES = 2 };
#define GRPC_HEALTH_CHECK "/grpc.health.v1.Health/Check"
#define GRPC_HEALTH_WATCH "/grpc.health.v1.Health/Watch"
#define GRPC_HEALTH_LIST "/grpc.health.v1.Health/List"

const char *grpc_health_name(int status);   /* "SERVING"; "?" for what the enum does not have */

void grpc_health_request_encode(struct str service, struct sb *out);        /* appends; "" is the empty message */
bool grpc_health_request_decode(struct str message, struct str *ret_service);
/* Bytes written: UNKNOWN is the default value and so the empty message. */
size_t grpc_health_response_encode(enum grpc_health status, uint8_t out[GRPC_HEALTH_STATUS_BYTES]);
/* *ret_status is what the peer said, be it none of the enum (a status of a later version is not SERVING). */
bool grpc_health_response_decode(struct str message, int *ret_status);
/* List, entry by entry; in what order is the caller's matter. service is UTF-8. */
void grpc_health_list_add(struct sb *out, struct str service, enum grpc_health status);
/* The next entry; *rest is the message in the beginning. 1; 0: no more; -1: malformed. Both values are optional inside an entry, as in every map. */
int grpc_health_list_next(struct str *rest, struct str *ret_service, int *ret_status);
