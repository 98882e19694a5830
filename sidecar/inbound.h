/* sidecar/inbound: calls to the app (apps[].inbound): TCP (or Unix) in, the app's own server out. The same exchange as any call, with a cluster that the configuration names instead of an
 * authority. Gated by the app's life: while it is not open, new calls are answered UNAVAILABLE (503, flag LH) and HTTP/2 connections are told to go (a GOAWAY is right here: the caller is not
 * the app); a call that crosses that GOAWAY is refused as not begun (REFUSED_STREAM), and calls in progress go on. Counted in life_inbound from their first byte to their end.
 *
 * Answers carry what Envoy's health_check filter gives: x-envoy-immediate-health-check-fail: true while the app is failing.
 * One an app. Owner: its app; a reload keeps doors whose lines did not change. */
#pragma once
#include "sidecar/app.h"

struct inbound;
struct inbound *inbound_new(struct app *a);
void inbound_apply(struct inbound *i, struct conf *whole, const struct conf_app *conf); /* as app_apply: leaves doors that are not there any more */
void inbound_open(struct inbound *i, struct err *err);
void inbound_gate(struct inbound *i);            /* the app's life has changed: NULL is fine here, as everywhere below */
void inbound_drain(struct inbound *i);           /* process end: stops accepting, two-phase GOAWAY */
void inbound_close(struct inbound *i);           /* ends connections now */
void inbound_free(struct inbound **i);
bool inbound_is_there(const struct inbound *i);  /* the app has inbound doors: then "in flight" is something that is known */
uint32_t inbound_connections(const struct inbound *i);
void inbound_json(const struct inbound *i, struct sb *out); /* for /status: its doors, as members of an array */
bool inbound_is_idle(const struct inbound *i);   /* nobody is connected, and no door is leaving */
/* NULL: the app is open, and so for whoever asks about it; else why it is not (static text). */
const char *app_is_unwell(const struct app *a);
/* NULL: calls for it are let in; else why not. The same, but for the time in which a daemon that goes has told everybody so and serves on. */
const char *inbound_closed(const struct app *a);
