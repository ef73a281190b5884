//! An item file to begin with: every field with what it means, empty where only the department can say.

use crate::service_file::render::text;

/// Writes the file. `file` is its name, for the commands that it explains.
pub fn template(item: &str, file: &str) -> String {
    format!(
        r#"# A public service item with its guide: what an applicant has to know and bring. 公共服务事项及办事指南
# Fill in what is empty (""), then:
#   exchange-node item check {file}
#   exchange-node item publish {file}

# The item's id within the department. It never changes. 事项标识
item: {item}

# What people call it. 事项名称
name: {{zh: "", en: ""}}

# Its code in the national list, where it has one. 事项编码
# code: ""

# The first day on which this version holds; without it, at once. Cases filed before keep theirs. 生效日期
# effective_from: 2099-01-01

# The law that it rests on, instrument and article. 办理依据
legal_basis: []

# Who takes the application. 受理单位
accepting_unit: ""

# The steps, each with who does it and within how many working days. 基本流程
steps:
  - {{step: 受理, actor: "", working_days: 1}}

# Sample texts and common mistakes: titles, or files beside this one, of which the digest is published:
# {{file: forms/example.pdf, kind: sample (or mistake)}}, and with sha256 the digest that the file must have. 示范文本及常见错误示例
samples: []

# Fees and on what basis, or that there are none. 收费依据及标准
fees: ""

# Within how many working days it is done; 0 for at once. 办理时限
time_limit_working_days: 20

# Whom to ask. 咨询方式
contact: ""

# Papers that this item issues, by their names: it closes circles. 本事项开具的证明
issues: []

# Why no commitment may stand in for any proof (life, health, public safety); leave out where one may. 不适用告知承诺的理由
# commitments_excluded: ""

# Materials and proofs. 申请材料 Each has
#   proof         the paper's name
#   legal_basis   the law by which it is asked for; without one nobody may ask
#   issuing_unit  who issues it
#   about         applicant (left out), spouse, child, guardian, father, mother, or household: what their records add up to
#   answered_by   the service that answers it, DEPARTMENT/SERVICE; where one does, the applicant may not be asked
#   version       that service's major version; without it 1
#   claim         attribute and operator, and either value (fixed for all), stated (what the person states, by name) or
#                 value_from (another person's, such as spouse.resident_id)
#   inputs        values that select rows, each with value, stated or value_from
#   gives         what the answer's value tells of a person, such as spouse.resident_id: the service and the grant must let it be
#                 disclosed; proofs that need it are asked once it is known, and what is told counts before what is stated
#   optional      true where it may be left out
#   commitment    true where a signed commitment may stand in while nobody can answer (告知承诺)
proofs:
  - proof: ""
    legal_basis: []
    issuing_unit: ""
    # answered_by: civil-affairs/marriage-registration
    # claim: {{attribute: marital_status, operator: equals, stated: marital_status}}
"#,
        item = text(item),
    )
}
