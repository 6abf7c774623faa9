//! Which requests a route is for, and what it makes of them. A topic a file; in each the same rules behind
//! nginx, and for clients of real containers. docs/nginx.md has the differences.

mod conditions;
mod headers;
mod hosts;
mod paths;
mod redirects;
mod rewrites;
