/* conf/finish: what must fit together across sections and files, once all of them are read; and the hash of what is neither app nor service. */
#include "conf/declare.h"

#include <stdlib.h>

#include "base/mem.h"
#include "conf/authority.h"

/* ---- the whole ---------------------------------------------------------------------------------------------------------- */

static uint64_t rest_hash(const struct conf *c)
{
	uint64_t h = declare_hash_text(
		declare_hash_text(declare_hash_text(declare_hash_text(3, c->control.unix_path), c->control.group), c->control.tcp_text),
		c->mesh_domain);
	const struct limits *l = &c->limits;
	/* Value by value: a struct has padding. */
	const uint64_t rest[] = {c->control.mode, c->park.time_ns, c->park.calls, c->park.bytes, c->drain.announce_ns, c->drain.deadline_ns,
		c->log.level, c->log.access, l->streams_per_connection, l->header_bytes, l->field_count, l->header_wire_bytes,
		l->continuations, l->header_budget, l->premature_resets, l->control_frames, l->empty_frames, l->outbound_queue,
		l->window_down, l->window_up, l->window_down_conn, l->window_up_conn, l->replay_bytes, l->stall_ns, l->stall_bytes,
		l->preface_time_ns, l->header_time_ns, l->connections, l->connections_per_listener, l->connections_per_uid, l->memory,
		l->memory_soft_percent, l->memory_hard_percent, l->watches_per_connection};

	h = declare_hash_text(declare_hash_text(h, c->log.file), c->log.access_file);
	h = declare_hash_value(declare_hash_text(h, c->snapshot_dir), c->xds.hash);
	for (uint32_t i = 0; i < c->ninstances; i++) {
		const struct conf_instance *x = &c->instances[i];

		h = declare_hash_text(declare_hash_text(declare_hash_text(declare_hash_text(declare_hash_text(h, x->name), x->plugin), x->cert), x->key), x->roots);
	}
	return str_hash_seeded(str_n((const char *)rest, sizeof(rest)), h);
}

static void empty_is_none(char **text)
{
	if (*text && !**text) {
		free(*text);
		*text = NULL;
	}
}

static void finish_control(struct schema *s)
{
	struct conf *c = s->conf;
	struct addr addr;
	char text[ADDR_TEXT];

	empty_is_none(&c->control.unix_path);
	empty_is_none(&c->control.group);
	empty_is_none(&c->control.tcp_text);
	if (c->control.unix_path) {
		struct str path = str_of(c->control.unix_path);
		const char *other;

		if ((path.p[0] != '/' && path.p[0] != '@') || path.n < 2 || addr_unix(path, &addr) < 0)
			schema_section_problem(s, "control",
				"control.unix: '%.120s' is no socket, expected an absolute path of at most %zu bytes, or \"@name\"", path.p,
				sizeof(addr.un.sun_path) - 1);
		else if ((other = map_get(&s->listens, str_of(addr_text(&addr, text)))))
			schema_section_problem(
				s, "control", "control.unix: an app listens on %s too (%s), expected a path of its own", path.p, other);
	}
	if (c->control.tcp_text) {
		if (addr_parse(str_of(c->control.tcp_text), &addr) < 0 || addr_is_unix(&addr) || addr_port(&addr) == 0) {
			schema_section_problem(s, "control", "control.tcp: '%.60s' is no address, expected IP:PORT", c->control.tcp_text);
		} else {
			const char *other = map_get(&s->listens, str_of(addr_text(&addr, text)));
			if (other)
				schema_section_problem(s, "control",
					"control.tcp: an app listens on %s too (%s), expected an address of its own", text, other);
			c->control.has_tcp = true;
			c->control.tcp = addr;
		}
	}
}

static void finish_mesh(struct schema *s)
{
	char out[AUTHORITY_MAX];
	struct conf *c = s->conf;
	size_t n;

	if (!c->mesh_domain || authority_clean(str_of(c->mesh_domain), out, &n) != AUTHORITY_NAME || memchr(out, ':', n) || n > 200) {
		schema_section_problem(s, "mesh", "mesh.domain: '%.60s' is no domain, expected one such as cluster.local",
			c->mesh_domain ? c->mesh_domain : "");
		return;
	}
	free(c->mesh_domain);
	c->mesh_domain = xstrndup(out, n);
}

static void finish_limits(struct schema *s)
{
	const struct limits *l = &s->conf->limits;

	if (l->memory_soft_percent > l->memory_hard_percent)
		schema_section_problem(
			s, "limits", "limits.memory_soft: above memory_hard (%u %%), expected at most that", l->memory_hard_percent);
	if (l->header_budget < l->header_bytes)
		schema_section_problem(s, "limits",
			"limits.header_budget: below header_bytes (%u), expected room for at least one header list", l->header_bytes);
	if (l->memory && l->memory < 1 << 20)
		schema_section_problem(s, "limits", "limits.memory: below 1MiB, expected more, or 0 for the cgroup's");
}

static void finish_snapshot(struct schema *s)
{
	struct conf *c = s->conf;

	empty_is_none(&c->snapshot_dir);
	if (c->snapshot_dir && c->snapshot_dir[0] != '/')
		schema_section_problem(s, "snapshot", "snapshot.dir: '%.120s' is no folder, expected an absolute path, or \"\" for none",
			c->snapshot_dir);
}

void conf_finish(struct schema *s)
{
	s->path.n = 0;
	empty_is_none(&s->conf->log.file);
	empty_is_none(&s->conf->log.access_file);
	finish_control(s);
	conf_inbound_finish(s);
	conf_identity_finish(s);
	conf_tls_finish(s);
	finish_mesh(s);
	finish_limits(s);
	finish_snapshot(s);
	s->conf->xds.hash = conf_xds_hash(&s->conf->xds);
	s->conf->hash = rest_hash(s->conf);
}
