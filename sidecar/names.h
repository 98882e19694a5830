/* sidecar/names: from what a call says (authority, path) to a declared name, with a small cache by the bytes of the authority, and of service
 * and default where the authority names no app.
 * Cached answers are dropped when the mesh's generation moves. Owner: an app. */
#pragma once
#include "base/map.h"
#include "conf/authority.h"
#include "conf/mesh.h"
#include "sidecar/faults.h"

struct name_hit {
	struct mesh_name *name;         /* NULL: fault says why. A view's may be unknown yet, or absent */
	enum fault fault;
	bool rewrite;                   /* :authority must be set to `authority` */
	char *authority;                /* normalised; what was asked, for texts */
};
struct names { struct map cache; struct mesh *mesh; struct mesh_view *view; /* borrowed; NULL: no control plane */ uint64_t generation; struct name_hit scratch; /* of an authority that is not kept */ };

void names_init(struct names *n, struct mesh *mesh, uint64_t seed);
void names_end(struct names *n);
void names_clear(struct names *n);
/* default_authority: the listener's, or NULL. The hit is valid until the next call. */
const struct name_hit *names_find(struct names *n, const struct conf_app *app, const char *domain, const char *default_authority, struct str authority, struct str path);
