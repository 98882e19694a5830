/* tests/flow/rig_int: what the rig's own files share. */
#pragma once
#include "tests/flow/rig.h"

struct fields *rig_fields(struct rig *r, const char *lines);
void rig_add_fields(struct fields *f, const char *lines);
void rig_keep_fields(struct sb *b, const struct fields *f);
const char *rig_find_field(const struct sb *b, const char *name);
uint64_t rig_hash(uint64_t h, const void *bytes, size_t n);
void rig_take(struct chain *data, struct sb *keep, uint64_t *bytes, uint64_t *hash);
void rig_pattern(char *out, uint64_t from, size_t n);
/* The end: first all connections, later the memory. */
void rig_end_apps(struct rig *r);
void rig_end_providers(struct rig *r);
void rig_end_raws(struct rig *r);
void rig_bury_apps(struct rig *r);
void rig_bury_providers(struct rig *r);
void rig_bury_raws(struct rig *r);
