//! The slip that the applicant takes home: the case, each proof with its sentence and the next step, everything that is
//! missing, the time limit. In Chinese and English, as plain text to print. Nobody's number or name stands on it: it is left
//! on a counter now and then. Out of scope: layout on a printer.

use std::fmt::Write;

use super::{Case, Clock};

impl Case {
    /// The slip; `date` writes a moment as people do.
    pub fn slip(&self, clock: &Clock, date: impl Fn(u64) -> String) -> String {
        let mut out = String::new();
        // Writing to a text cannot fail.
        let _ = writeln!(out, "办件回执  Case slip");
        let _ = writeln!(out, "办件编号 Case: {}", self.number);
        let name = if self.item_name_en.is_empty() { &self.item } else { &self.item_name_en };
        let _ = writeln!(
            out,
            "事项 Item: {} / {name} (第{}版 version {})",
            self.item_name_zh, self.item_version, self.item_version
        );
        let _ = writeln!(out, "受理 Opened: {}", date(self.opened_ms));
        match clock.paused {
            true => {
                let reason = self.pauses.last().map_or("", |pause| pause.reason.as_str());
                let _ = writeln!(out, "办理时限暂停 The time limit stands still: {reason}");
            }
            false => {
                let _ = writeln!(out, "办结期限 Due: {}", date(clock.due_at_ms.saturating_sub(1)));
            }
        }
        for (number, proof) in self.item_proofs().enumerate() {
            let said = proof.sentences();
            let _ = writeln!(out, "\n{}. {}\n   {}", number + 1, said.zh, said.en);
            if !said.next_zh.is_empty() {
                let _ = writeln!(out, "   → {}\n   → {}", said.next_zh, said.next_en);
            }
            if !proof.receipt.is_empty() {
                let _ = writeln!(out, "   回执号 Receipt: {}", proof.receipt);
            }
        }
        if self.state() == "complete" {
            let _ = writeln!(out, "\n材料齐全。 Nothing is missing.");
        } else if let Some(notice) = &self.notice {
            let _ = writeln!(out, "\n一次性告知 Everything that is missing ({}):", date(notice.told_at_ms));
            for (zh, en) in notice.zh.iter().zip(&notice.en) {
                let _ = writeln!(out, " - {zh} / {en}");
            }
        }
        out
    }
}
