//! Names for made-up people, from short lists of common characters. Any likeness to a real person is chance.

use trust::subject::resident_number::Sex;

use super::random::Random;

/// A family name; the common ones come up more often, as they do in life.
pub(super) fn family_name(random: &mut Random) -> &'static str {
    let names: &[&'static str] = if random.chance(450) { &COMMON_FAMILY_NAMES } else { &OTHER_FAMILY_NAMES };
    names[random.below(names.len())]
}

/// A full name: family name first, then one or two characters.
pub(super) fn full_name(random: &mut Random, family_name: &str, sex: Sex) -> String {
    let characters = match sex {
        Sex::Female => &FEMALE_CHARACTERS,
        Sex::Male => &MALE_CHARACTERS,
    };
    let mut name = String::from(family_name);
    name.push(*random.pick(characters));
    if random.chance(800) {
        name.push(*random.pick(characters));
    }
    name
}

/// The family name that `name` begins with.
pub(super) fn family_name_of(name: &str) -> &str {
    let length = if COMPOUND_FAMILY_NAMES.iter().any(|compound| name.starts_with(compound)) { 2 } else { 1 };
    let end = name.char_indices().nth(length).map_or(name.len(), |(index, _)| index);
    &name[..end]
}

const COMMON_FAMILY_NAMES: [&str; 10] = ["王", "李", "张", "刘", "陈", "杨", "黄", "赵", "周", "吴"];
const OTHER_FAMILY_NAMES: [&str; 42] = [
    "徐", "孙", "马", "朱", "胡", "郭", "何", "林", "高", "罗", "郑", "梁", "谢", "宋", "唐", "许", "韩", "邓", "冯",
    "曹", "彭", "曾", "肖", "田", "董", "潘", "袁", "蔡", "蒋", "余", "于", "杜", "叶", "程", "魏", "苏", "吕", "丁",
    "沈", "任", "欧阳", "上官",
];
const COMPOUND_FAMILY_NAMES: [&str; 2] = ["欧阳", "上官"];
const FEMALE_CHARACTERS: [char; 48] = [
    '芳', '娜', '敏', '静', '秀', '丽', '艳', '娟', '霞', '玲', '桂', '英', '兰', '萍', '红', '玉', '梅', '莉', '琴',
    '云', '雪', '慧', '洁', '琳', '婷', '雅', '欣', '怡', '佳', '思', '雨', '晴', '月', '蓉', '薇', '瑶', '珍', '清',
    '宁', '彤', '妍', '蕾', '岚', '青', '诗', '若', '涵', '颖',
];
const MALE_CHARACTERS: [char; 48] = [
    '伟', '强', '磊', '军', '洋', '勇', '杰', '涛', '明', '超', '刚', '平', '辉', '鹏', '华', '飞', '斌', '波', '宇',
    '浩', '凯', '健', '俊', '帆', '帅', '旭', '宁', '龙', '林', '文', '志', '国', '建', '海', '山', '成', '博', '睿',
    '泽', '晨', '轩', '子', '远', '安', '康', '诚', '毅', '鸣',
];

#[cfg(test)]
mod tests {
    use trust::subject::resident_number::Sex;

    use super::super::random::Random;
    use super::{family_name, family_name_of, full_name};

    #[test]
    fn a_name_begins_with_its_family_name() {
        let mut random = Random::new(1, "names");
        for _ in 0..1000 {
            let family = family_name(&mut random);
            let name = full_name(&mut random, family, Sex::Male);
            assert_eq!(family_name_of(&name), family);
            assert!((2..=4).contains(&name.chars().count()));
        }
    }
}
