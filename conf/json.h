/* conf/json: JSON out of a tree of conf/yaml, and what a scalar of it means in JSON. Reading JSON is conf/yaml's (yaml_parse with yaml_literal). */
#pragma once
#include "conf/yaml.h"

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_TEXT };
/* Plain scalars only: a quoted one is a text. 1.2.3, 0x10, 007 and yes are texts too: JSON has no such numbers and booleans. */
enum json_kind json_kind(const struct yaml *scalar);
void json_write(struct sb *out, const struct yaml *node);
