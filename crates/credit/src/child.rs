//! What a child pool is made with, and the trait of those that can give bytes back.

use std::fmt;
use std::sync::Arc;

use crate::node::Node;
use crate::pool;

/// A holder that can give bytes back when others need them: a cache, a pool of idle buffers.
///
/// Any `Fn(u64) + Send + Sync` is one. It lives as long as its pool, so it should refer to the holder
/// weakly if the holder owns the pool.
pub trait Reclaim: Send + Sync {
    /// Asks to return about `bytes` to the pool soon, best before this returns.
    ///
    /// Called without any lock of the pool, on the thread of a request that would otherwise wait, and
    /// again every 10 ms while it does; on several threads at once when several requests wait. It may
    /// release permits. It may not wait for credits of the same tree, and not take a lock that anybody
    /// holds while acquiring from it. Returning less is allowed: the request waits on.
    fn reclaim(&self, bytes: u64);
}

impl<F: Fn(u64) + Send + Sync> Reclaim for F {
    fn reclaim(&self, bytes: u64) {
        self(bytes);
    }
}

impl fmt::Debug for dyn Reclaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dyn Reclaim")
    }
}

/// How a child pool shares its parent; plain data, see the fields for what each means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildOptions {
    /// Bytes that the child can always get, at once or as soon as elastic siblings have given back
    /// what they borrowed. Nobody else but those may use them. Default 0.
    pub floor_bytes: u64,
    /// Bytes that the child may hold at most; `None` or `Some(0)` leaves that to the parent. Default `None`.
    pub ceiling_bytes: Option<u64>,
    /// The share, relative to siblings, of what all want and nobody is promised. At least 1 (0 is taken
    /// as 1). Default 1.
    pub weight: u32,
}

impl Default for ChildOptions {
    fn default() -> ChildOptions {
        ChildOptions { floor_bytes: 0, ceiling_bytes: None, weight: 1 }
    }
}

/// How one child of a pool stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildUse {
    /// The child's name.
    pub name: Arc<str>,
    /// Bytes it holds, with all below it.
    pub held_bytes: u64,
    /// Its floor.
    pub floor_bytes: u64,
    /// Its ceiling; `None` is that of its parent.
    pub ceiling_bytes: Option<u64>,
    /// Its weight.
    pub weight: u32,
    /// Whether it can be asked to give back.
    pub elastic: bool,
    /// Requests that wait in it or below.
    pub waiters: usize,
}

impl ChildUse {
    pub(crate) fn of(node: &Node) -> ChildUse {
        ChildUse {
            name: Arc::clone(&node.name),
            held_bytes: node.held(),
            floor_bytes: node.floor,
            ceiling_bytes: pool::capacity(node.capacity()),
            weight: node.weight,
            elastic: node.elastic(),
            waiters: node.account.waiting(),
        }
    }
}
