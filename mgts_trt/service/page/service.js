// The service's HTTP interface: requests with the API key, refusals as errors in the service's own words.

const KEY = "mgts-trt-key";

const PASSING = [408, 429, 503, 504]; // statuses of a service that is busy, restarting or slow

/** A request the service refused; the message is its sentence. */
export class ServiceError extends Error {
  /** Of the answer; 0 where none was read. */
  status = 0;
  /** Whether the same request may succeed later. */
  passing = false;
}

/** Nothing answered. */
export class ServiceAway extends Error {
  passing = true;

  constructor() {
    super("The service does not answer. Check that mgts-trt serve is running, then try again.");
  }
}

export class Service {
  #askKey;
  #asking = null;

  /** @param {(reason: string) => Promise<string>} askKey Asks the user; rejects when they cancel. */
  constructor(askKey) {
    this.#askKey = askKey;
  }

  /** What /healthz says; with the right key, also how much the gallery holds. @throws {ServiceAway} */
  async health() {
    const key = sessionStorage.getItem(KEY);
    for (const headers of key ? [{ "X-API-Key": key }, {}] : [{}]) {
      try {
        const response = await fetch("/healthz", { cache: "no-store", headers });
        if (response.ok) return await response.json();
      } catch {
        // Told below: a refusal and silence are the same to the user.
      }
    }
    throw new ServiceAway();
  }

  /** Have a key before the first request, where the service demands one. */
  async needKey() {
    if (!sessionStorage.getItem(KEY)) await this.#newKey("");
  }

  /** POST a form; its fields are strings, blobs, or lists of these; those undefined or "" are left out. */
  async post(path, fields, signal) {
    const body = new FormData();
    for (const [name, value] of Object.entries(fields)) {
      for (const each of [value].flat()) if (each !== undefined && each !== "") body.append(name, each);
    }
    return this.#fetch(path, { method: "POST", body, signal }, (response) => response.json());
  }

  /** GET what a path tells, with a query; fields of it that are undefined or "" are left out. */
  async get(path, query = {}, signal) {
    return this.#fetch(withQuery(path, query), { signal }, (response) => response.json());
  }

  async delete(path, query) {
    return this.#fetch(withQuery(path, query), { method: "DELETE" }, (response) => response.json());
  }

  /** GET the scene at a path: its picture, the size that boxes refer to, and of a video which frame it is. */
  async scene(path, offset, signal) {
    return this.#fetch(withQuery(path, { offset }), { signal }, async (response) => {
      const told = (name) => {
        const value = response.headers.get(`X-Scene-${name}`);
        return value === null ? null : Number(value);
      };
      return {
        bitmap: await createImageBitmap(await response.blob()),
        width: told("Width"),
        height: told("Height"),
        number: told("Number"),
        seconds: told("Seconds"),
        frames: told("Frames"),
      };
    });
  }

  /** GET the small picture of a person or of a sighting, by its id. */
  async portrait(id, signal) {
    const kind = id.startsWith("s-") ? "sightings" : "people";
    return this.picture(`/${kind}/${encodeURIComponent(id)}/thumbnail`, signal);
  }

  /** GET a picture, decoded. It is fetched rather than named in an <img>, which could not send the key. */
  async picture(path, signal) {
    return createImageBitmap(await this.#fetch(path, { signal }, (response) => response.blob()));
  }

  async #fetch(path, options, read) {
    for (;;) {
      const key = sessionStorage.getItem(KEY);
      let response;
      try {
        response = await fetch(path, { ...options, headers: key ? { "X-API-Key": key } : {} });
        if (response.ok) return await read(response);
      } catch (error) {
        if (error.name === "AbortError") throw error;
        await this.health();
        if (!options.body) {
          throw Object.assign(new ServiceError("The service's answer could not be read."), { passing: true });
        }
        // A service that refuses a large upload before its end, too, is seen as a broken connection.
        throw new ServiceError(
          "The photo could not be sent: it may be larger than the service takes, or have been changed since it was " +
            "chosen. Scale it down or choose it again.",
        );
      }
      const reason = await sentence(response);
      if (response.status !== 401) {
        const { status } = response;
        throw Object.assign(new ServiceError(reason), { status, passing: PASSING.includes(status) });
      }
      // Another request may have asked for a new key meanwhile.
      if (sessionStorage.getItem(KEY) === key) await this.#newKey(reason);
      options.signal?.throwIfAborted();
    }
  }

  #newKey(reason) {
    this.#asking ??= this.#askKey(reason)
      .then((key) => sessionStorage.setItem(KEY, key))
      .finally(() => (this.#asking = null));
    return this.#asking;
  }
}

function withQuery(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

async function sentence(response) {
  try {
    const { error } = await response.json();
    if (typeof error === "string" && error) return error;
  } catch {
    // Not the service's own answer: a proxy's page, say.
  }
  return `The service answered ${response.status} ${response.statusText}. Try again.`;
}
