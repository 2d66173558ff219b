//! What became of the entries that one client appended: which of them other nodes hold.

use std::collections::VecDeque;

use shared::EntryId;

/// Appended blocks of one client that are watched; the oldest are given up first.
const WATCHED: usize = 1024;

/// The entries of one client, by the heights of their blocks.
#[derive(Debug, Default)]
pub(super) struct Statuses(VecDeque<Watched>);

#[derive(Debug)]
struct Watched {
    height: u64,
    ids: Vec<EntryId>,
    held_by: u32,
}

impl Statuses {
    /// Watches entries that are durable here.
    pub(super) fn watch(&mut self, ids: impl IntoIterator<Item = EntryId>) {
        for id in ids {
            match self.0.back_mut() {
                Some(last) if last.height == id.height => last.ids.push(id),
                _ => self.0.push_back(Watched { height: id.height, ids: vec![id], held_by: 0 }),
            }
        }
        while self.0.len() > WATCHED {
            self.0.pop_front();
        }
    }

    /// So many nodes hold all blocks up to a height: the entries of which that is news.
    pub(super) fn held(&mut self, height: u64, nodes: u32) -> Vec<EntryId> {
        let mut news = Vec::new();
        for watched in self.0.iter_mut().filter(|watched| watched.height <= height && watched.held_by < nodes) {
            watched.held_by = nodes;
            news.extend_from_slice(&watched.ids);
        }
        news
    }

    /// Whether nothing is watched.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use shared::NodeId;

    use super::*;

    fn id(height: u64, index: u32) -> EntryId {
        EntryId { author: NodeId::from_bytes([1; 32]), height, index }
    }

    #[test]
    fn entries_are_told_of_once_for_each_node_more() {
        let mut statuses = Statuses::default();
        statuses.watch([id(1, 0), id(1, 1), id(2, 0)]);
        statuses.watch([id(4, 0)]);
        assert_eq!(statuses.held(2, 1), [id(1, 0), id(1, 1), id(2, 0)]);
        assert_eq!(statuses.held(2, 1), []);
        assert_eq!(statuses.held(4, 1), [id(4, 0)]);
        assert_eq!(statuses.held(1, 2), [id(1, 0), id(1, 1)]);
        assert_eq!(statuses.held(4, 0), []);
    }

    #[test]
    fn the_oldest_are_given_up() {
        let mut statuses = Statuses::default();
        statuses.watch((1..=WATCHED as u64 + 5).map(|height| id(height, 0)));
        assert_eq!(statuses.held(u64::MAX, 1).first(), Some(&id(6, 0)));
    }
}
